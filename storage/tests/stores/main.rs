//! One suite of scenarios against every row store, and a comparison of them under random operations.
#![allow(clippy::disallowed_methods)] // figures are taken with a clock, cases counted by the environment

mod api;
mod claims;
mod compare;
mod dav;
mod directory;
mod durable;
mod figures;
mod folders;
mod hooks;
mod limits;
mod messages;
mod nodes;
mod policies;
mod queue;
mod support;

use std::sync::Arc;

use storage::{MemoryStore, Store, SurrealOptions, SurrealStore};
use support::{Directory, block_on};

/// Runs one scenario against all stores that need no server, each empty at first.
macro_rules! against_all_stores {
    ($($module:ident: $($scenario:ident),* $(,)?);* $(;)?) => {
        mod memory {
            $(mod $module {$(
                #[test]
                fn $scenario() {
                    crate::block_on(crate::$module::$scenario(crate::memory()));
                }
            )*})*
        }
        mod surreal_memory {
            $(mod $module {$(
                #[test]
                fn $scenario() {
                    crate::on_surreal_memory(crate::$module::$scenario);
                }
            )*})*
        }
        mod surreal_files {
            $(mod $module {$(
                #[test]
                fn $scenario() {
                    crate::on_surreal_files(crate::$module::$scenario);
                }
            )*})*
        }
    };
}

against_all_stores! {
    directory:
        organisations_have_unique_names,
        domains_belong_to_one_organisation,
        settings_come_back_as_they_were_given,
        mailboxes_have_their_folders,
        an_address_is_a_mailbox_or_an_alias,
        passwords_are_replaced,
        deleting_a_mailbox_leaves_nothing,
        resolution_of_recipients,
        role_addresses_have_somebody_behind_them,
        aliases_end_somewhere;
    folders:
        levels_above_are_made,
        names_are_checked,
        renaming_moves_what_is_below,
        renaming_inbox_empties_it,
        deleting_gives_back_what_was_only_there,
        uid_validity_never_comes_back,
        subscriptions_need_no_folder;
    messages:
        commits_place_in_order,
        a_refused_commit_leaves_its_neighbours,
        one_message_in_two_folders_counts_once,
        the_same_message_is_not_stored_twice,
        flags_change_and_say_so,
        keywords_have_a_limit,
        unchanged_since_keeps_rows,
        expunge_takes_deleted_rows_only,
        copies_share_the_object,
        moves_keep_the_message,
        changes_since_tell_everything,
        meta_by_range,
        mailboxes_do_not_reach_each_other,
        concurrent_changes_are_all_counted;
    queue:
        jobs_come_due_in_order,
        results_are_written_once,
        q2_fences_hold_off_the_late,
        leases_are_taken_over_after_the_skew,
        so9_a_final_dot_without_result_is_in_doubt,
        a_lease_that_was_prolonged_is_looked_at_again,
        jobs_can_be_claimed_as_they_are_queued,
        results_place_their_notices,
        administrators_act,
        q12_a_leased_job_can_be_cancelled_until_its_final_dot,
        q12_the_jobs_of_a_deleted_organisation_are_cancelled,
        q13_a_job_that_crashes_its_workers_is_parked,
        q13_a_job_whose_workers_are_lost_is_parked_later,
        q16_organisations_take_turns,
        cleaning_takes_what_is_old,
        a_job_is_queued_once;
    claims:
        q1_no_job_is_claimed_twice;
    limits:
        counters_stop_at_their_limit,
        q10_quotas_are_counted_with_what_they_allow,
        so15_suppressions_follow_what_attempts_say,
        a_domain_is_suppressed_when_it_is_gone_twice,
        suppressions_by_hand_are_listed_and_stay,
        q8_one_key_is_one_request,
        what_is_over_is_removed,
        a_timeline_tells_all_jobs_of_a_message;
    api:
        ti1_emails_are_their_organisations_and_the_newest_come_first,
        what_happens_to_an_email_is_in_the_log_without_a_gap,
        q8_a_repeated_request_stores_and_tells_nothing,
        numbers_of_the_log_are_given_once_whoever_writes,
        a_scheduled_email_is_put_off_until_it_is_tried,
        what_is_kept_of_an_email_is_kept_as_long_after_its_new_time,
        emails_and_their_log_go_when_they_are_over,
        keys_are_made_used_and_removed;
    hooks:
        webhooks_are_their_organisations,
        one_at_a_time_is_at_a_webhook,
        hg14_templates_are_their_organisations_and_their_versions_stay;
    policies:
        policies_are_kept_by_domain_and_the_later_one_stays,
        policies_come_due_in_order_and_go_when_they_have_expired;
    dav:
        a_tree_is_guarded_by_its_owner,
        members_content_and_removals_are_told,
        trees_and_mail_share_a_quota,
        files_share_their_objects,
        changes_of_two_trees_are_one,
        old_removals_are_forgotten,
        a_tree_goes_with_its_mailbox;
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

pub fn on_surreal_memory<F: Future<Output = ()>>(scenario: impl FnOnce(Arc<dyn Store>) -> F) {
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(SurrealStore::open(SurrealOptions::memory()).await.unwrap());
        scenario(store.clone()).await;
        store.close().await;
    });
}

pub fn on_surreal_files<F: Future<Output = ()>>(scenario: impl FnOnce(Arc<dyn Store>) -> F) {
    let directory = Directory::new();
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(SurrealStore::open(directory.options()).await.unwrap());
        scenario(store.clone()).await;
        store.close().await;
    });
}
