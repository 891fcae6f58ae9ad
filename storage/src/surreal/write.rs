//! One set of writes as one transaction of few statements, each for a batch of rows.

use std::collections::BTreeMap;

use surrealdb_types::{Value, Variables};

use super::value::*;
use super::{dav, jobs, rows, slots};
use crate::error::Result;
use crate::rows::Writes;
use crate::types::{MailboxId, OrgId};

/// A transaction being put together: fixed statements, and what is bound to them.
#[derive(Default)]
pub struct Transaction {
    pub text: String,
    pub bound: Variables,
}

impl Transaction {
    /// Adds a statement that names `$name`, unless there is nothing for it to do.
    fn each(&mut self, name: &str, statement: &str, values: Vec<Value>) {
        if !values.is_empty() {
            self.text.push_str(statement);
            self.text.push('\n');
            self.bound.insert(name, list(values));
        }
    }

    fn insert(&mut self, table: &str, values: Vec<Value>) {
        let name = format!("{table}_new");
        self.each(&name, &format!("INSERT INTO {table} ${name} RETURN NONE;"), values);
    }

    /// Replaces rows that are there, which their guards make sure of.
    fn replace(&mut self, table: &str, values: Vec<Value>) {
        let statement = format!("FOR $row IN ${table} {{ UPDATE $row.id CONTENT $row RETURN NONE }};");
        self.each(table, &statement, values);
    }

    fn delete(&mut self, table: &str, ids: Vec<Value>) {
        let name = format!("{table}_gone");
        self.each(&name, &format!("DELETE ${name} RETURN NONE;"), ids);
    }

    /// Ranges one by one: a list of them is not one target.
    fn delete_range(&mut self, name: &str, range: Value) {
        self.text.push_str(&format!("DELETE ${name} RETURN NONE;\n"));
        self.bound.insert(name, range);
    }

    /// The revisions that were read must still be there. Their rows are written below, so that a writer who
    /// passed the same test at the same time conflicts with this one at its commit.
    fn guards(&mut self, writes: &Writes) {
        let mut guards = Vec::new();
        if let Some(rev) = writes.directory_rev {
            guards.push((record("meta", "directory"), rev));
        }
        for row in writes.mailboxes.iter().chain(&writes.mailboxes_gone) {
            guards.push((record("mailbox", row.mailbox.id.to_string()), row.rev));
        }
        for row in writes.jobs.iter().chain(&writes.jobs_gone) {
            guards.push((record("outbound_queue", row.job.spec.id.to_string()), row.rev));
        }
        for write in writes.slots.iter().filter(|write| write.rev > 0) {
            guards.push((slots::key(&write.key), write.rev));
        }
        for owner in writes.dav.owners.iter().filter(|owner| owner.rev > 0) {
            guards.push((dav::owner_key(owner.mailbox), owner.rev));
        }
        self.absent(writes);
        if guards.is_empty() {
            return;
        }
        let (ids, revs): (Vec<Value>, Vec<Value>) =
            guards.into_iter().map(|(id, rev)| (id, int(rev))).unzip();
        self.text.push_str("IF (SELECT VALUE rev FROM $guards) != $revs { THROW 'inbox:stale' };\n");
        self.bound.insert("guards", list(ids));
        self.bound.insert("revs", list(revs));
    }

    /// Small rows and trees that were not there must not be there. They are made below, so that of two who make them one
    /// conflicts.
    fn absent(&mut self, writes: &Writes) {
        let new = writes.slots.iter().filter(|write| write.rev == 0).map(|write| slots::key(&write.key));
        let statement = "IF array::len(SELECT VALUE id FROM $absent) > 0 { THROW 'inbox:stale' };";
        let trees = writes.dav.owners.iter().filter(|owner| owner.rev == 0);
        let new = new.chain(trees.map(|owner| dav::owner_key(owner.mailbox)));
        self.each("absent", statement, new.collect());
    }

    fn slots(&mut self, writes: &Writes) -> Result<()> {
        let changed = writes.slots.iter().filter_map(|write| slots::row(write).transpose());
        let set = "FOR $row IN $slots { UPSERT $row.id CONTENT $row RETURN NONE };";
        self.each("slots", set, changed.collect::<Result<_>>()?);
        let gone = writes.slots.iter().filter(|write| write.slot.is_none() && write.rev > 0);
        self.delete("slots", gone.map(|write| slots::key(&write.key)).collect());
        Ok(())
    }

    fn directory(&mut self, writes: &Writes) -> Result<()> {
        if let Some(rev) = writes.directory_rev {
            self.text.push_str("UPDATE meta:directory SET rev = $directory_rev RETURN NONE;\n");
            self.bound.insert("directory_rev", int(rev + 1));
        }
        self.insert("organization", writes.orgs_new.iter().map(rows::org).collect());
        self.replace("organization", writes.orgs.iter().map(rows::org).collect());
        let gone = writes.orgs_gone.iter().map(|id| record("organization", id.to_string()));
        self.delete("organization", gone.collect());
        let domain = |name: &String| record("domain", name.as_str());
        let new = writes.domains_new.iter();
        self.insert(
            "domain",
            new.map(|d| object([("id", domain(&d.name)), ("name", text(&d.name))])).collect(),
        );
        let edges = writes.domains_new.iter().map(rows::edge).collect::<Result<Vec<_>>>()?;
        self.each("edges", "INSERT RELATION INTO has_domain $edges RETURN NONE;", edges);
        let edges = writes.domains.iter().map(rows::edge).collect::<Result<Vec<_>>>()?;
        let update = "FOR $row IN $changed_edges { UPDATE $row.id CONTENT $row RETURN NONE };";
        self.each("changed_edges", update, edges);
        let gone = writes.domains_gone.iter().map(|name| record("has_domain", name.as_str()));
        self.delete("has_domain", gone.collect());
        self.delete("domain", writes.domains_gone.iter().map(domain).collect());
        self.insert("alias", writes.aliases_new.iter().map(rows::alias).collect());
        let gone = writes.aliases_gone.iter().map(|address| record("alias", address.as_str()));
        self.delete("alias", gone.collect());
        Ok(())
    }

    fn mailboxes(&mut self, writes: &Writes) {
        self.insert("mailbox", writes.mailboxes_new.iter().map(rows::mailbox).collect());
        let addresses = writes.mailboxes_new.iter().map(|row| {
            let id = record("mailbox", row.mailbox.id.to_string());
            object([("id", record("address", row.mailbox.address.as_str())), ("mailbox", id)])
        });
        self.insert("address", addresses.collect());
        self.replace("mailbox", writes.mailboxes.iter().map(rows::mailbox).collect());
        let credentials = writes.credentials.iter().map(|(id, password)| rows::credential(*id, password));
        let set = "FOR $row IN $credentials { UPSERT $row.id CONTENT $row RETURN NONE };";
        self.each("credentials", set, credentials.collect());
        for (n, row) in writes.mailboxes_gone.iter().enumerate() {
            let first = id(row.mailbox.id.0);
            for table in ["object", "subscription"].into_iter().chain(dav::tables()) {
                let all = range2(table, &first, std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
                self.delete_range(&format!("all_{table}_{n}"), all);
            }
        }
        let gone = || writes.mailboxes_gone.iter().map(|row| &row.mailbox);
        self.delete("dav_owner", gone().map(|m| dav::owner_key(m.id)).collect());
        let key = |org: OrgId, mailbox: MailboxId| record("administrator", key2(id(org.0), id(mailbox.0)));
        let new = writes.administrators.iter().map(|(org, mailbox)| {
            object([("id", key(*org, *mailbox)), ("mailbox", record("mailbox", mailbox.to_string()))])
        });
        self.insert("administrator", new.collect());
        self.delete("administrator", gone().map(|m| key(m.org, m.id)).collect());
        self.delete("address", gone().map(|m| record("address", m.address.as_str())).collect());
        self.delete("credential", gone().map(|m| record("credential", m.id.to_string())).collect());
        self.delete("mailbox", gone().map(|m| record("mailbox", m.id.to_string())).collect());
    }

    fn folders(&mut self, writes: &Writes) {
        self.insert("folder", writes.folders_new.iter().map(rows::folder).collect());
        let owners = writes.folders_new.iter().map(|folder| {
            let id_of = record("folder_owner", folder.id.to_string());
            object([("id", id_of), ("mailbox", id(folder.mailbox.0))])
        });
        self.insert("folder_owner", owners.collect());
        self.replace("folder", writes.folders.iter().map(rows::folder).collect());
        for (n, (_, folder)) in writes.folders_gone.iter().enumerate() {
            let first = id(folder.0);
            for table in ["message", "expunged"] {
                let all = range2(table, &first, std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
                self.delete_range(&format!("all_{table}_{n}"), all);
            }
        }
        let gone = || writes.folders_gone.iter();
        self.delete("folder", gone().map(|(mailbox, folder)| rows::folder_key(*mailbox, *folder)).collect());
        let owners = gone().map(|(_, folder)| record("folder_owner", folder.to_string()));
        self.delete("folder_owner", owners.collect());
    }

    /// Messages change in nothing but flags and modseq, and many of them alike: one statement for each kind.
    fn flags(&mut self, writes: &Writes) {
        let mut alike: BTreeMap<(u64, u64), Vec<Value>> = BTreeMap::new();
        for (folder, row) in &writes.messages {
            alike.entry((row.flags.0, row.modseq)).or_default().push(rows::message_key(*folder, row.uid));
        }
        let kinds = alike.into_iter().map(|((flags, modseq), ids)| {
            object([("flags", int(flags)), ("modseq", int(modseq)), ("ids", list(ids))])
        });
        // Everything gets a name of its own: `$kind.flags` in the UPDATE copies all of `$kind` for each row.
        let update = "FOR $kind IN $kinds {
            LET $ids = $kind.ids;
            LET $flags = $kind.flags;
            LET $modseq = $kind.modseq;
            UPDATE $ids SET flags = $flags, modseq = $modseq RETURN NONE
        };";
        self.each("kinds", update, kinds.collect());
    }

    fn messages(&mut self, writes: &Writes) {
        let new = writes.messages_new.iter().map(|(folder, row)| rows::message(*folder, row));
        self.insert("message", new.collect());
        self.flags(writes);
        let gone = writes.messages_gone.iter().map(|(folder, uid)| rows::message_key(*folder, *uid));
        self.delete("message", gone.collect());
        let expunged = writes.expunged.iter().map(|(folder, modseq, uids)| {
            let key = key2(id(folder.0), int(*modseq));
            object([
                ("id", record("expunged", key)),
                ("uids", list(uids.iter().map(|uid| int((*uid).into())))),
            ])
        });
        self.insert("expunged", expunged.collect());
        self.insert("object", writes.objects_new.iter().map(rows::stored_object).collect());
        let refs = writes.objects.iter().map(|(mailbox, message, refs)| {
            object([("id", rows::object_key(*mailbox, *message)), ("refs", int((*refs).into()))])
        });
        let update = "FOR $row IN $object { UPDATE $row.id SET refs = $row.refs RETURN NONE };";
        self.each("object", update, refs.collect());
        let metas = writes.objects_meta.iter().map(|(mailbox, message, meta)| {
            object([("id", rows::object_key(*mailbox, *message)), ("meta", bytes(meta))])
        });
        let update = "FOR $row IN $metas { UPDATE $row.id SET meta = $row.meta RETURN NONE };";
        self.each("metas", update, metas.collect());
        let gone = writes.objects_gone.iter().map(|(mailbox, message)| rows::object_key(*mailbox, *message));
        self.delete("object", gone.collect());
        let key =
            |(mailbox, name): &(MailboxId, String)| record("subscription", key2(id(mailbox.0), text(name)));
        let new = writes.subscriptions.iter().map(|row| object([("id", key(row))]));
        self.insert("subscription", new.collect());
        self.delete("subscription", writes.subscriptions_gone.iter().map(key).collect());
    }

    fn jobs(&mut self, writes: &Writes) -> Result<()> {
        self.insert("outbound_queue", writes.jobs_new.iter().map(jobs::job).collect::<Result<_>>()?);
        self.replace("outbound_queue", writes.jobs.iter().map(jobs::job).collect::<Result<_>>()?);
        let gone = writes.jobs_gone.iter().map(|row| record("outbound_queue", row.job.spec.id.to_string()));
        self.delete("outbound_queue", gone.collect());
        self.delete("due", writes.due_gone.iter().map(rows::due_key).collect());
        self.insert("due", writes.due_new.iter().map(rows::due).collect());
        let records = writes.deliveries.iter().map(|(job, n, record)| rows::delivery(*job, *n, record));
        self.insert("delivery", records.collect::<Result<_>>()?);
        let events = writes.events.iter().map(|(job, n, record)| rows::delivery(*job, *n, record));
        let set = "FOR $row IN $events { UPSERT $row.id CONTENT $row RETURN NONE };";
        self.each("events", set, events.collect::<Result<_>>()?);
        self.insert("api_log", writes.log.iter().map(rows::log_entry).collect::<Result<_>>()?);
        Ok(())
    }

    /// What goes first: another row may come in its place.
    fn dav(&mut self, writes: &Writes) {
        let writes = &writes.dav;
        self.delete("dav_node", writes.nodes_gone.iter().map(dav::node_key).collect());
        self.delete("dav_text", writes.texts_gone.iter().map(|(of, id)| dav::text_key(*of, *id)).collect());
        self.delete("dav_uid", writes.uids_gone.iter().map(|(uid, key)| dav::uid_key(*uid, key)).collect());
        self.delete("dav_mail", writes.mails_gone.iter().map(|(of, n)| dav::mail_key(*of, *n)).collect());
        for (n, (mailbox, parent, last)) in writes.history_gone.iter().enumerate() {
            self.delete_range(&format!("dav_gone_{n}"), dav::gone_range(*mailbox, *parent, 0, *last));
        }
        let owners = writes.owners.iter().map(dav::owner).collect();
        let nodes = writes.nodes.iter().map(dav::node).collect();
        let texts = writes.texts.iter().map(dav::text_row).collect();
        let history = writes.history.iter().map(dav::gone).collect();
        let uids = writes.uids.iter().map(|(uid, key)| dav::uid(*uid, key)).collect();
        let mails = writes.mails.iter().map(dav::mail).collect();
        let tables = [
            ("dav_owners", owners),
            ("dav_nodes", nodes),
            ("dav_texts", texts),
            ("dav_history", history),
            ("dav_uids", uids),
            ("dav_mails", mails),
        ];
        for (name, rows) in tables {
            let set = format!("FOR $row IN ${name} {{ UPSERT $row.id CONTENT $row RETURN NONE }};");
            self.each(name, &set, rows);
        }
    }

    /// A policy that another node fetched later stays.
    fn policies(&mut self, writes: &Writes) {
        let statement = "FOR $row IN $mta_sts {
            LET $id = $row.id;
            IF ((SELECT VALUE fetched FROM $id)[0] ?? $row.fetched) <= $row.fetched {
                UPSERT $id CONTENT $row RETURN NONE
            }
        };";
        self.each("mta_sts", statement, writes.policies.iter().map(rows::policy).collect());
        let gone = writes.policies_gone.iter().map(|domain| record("mta_sts", domain.as_str()));
        self.delete("mta_sts", gone.collect());
    }
}

/// The transaction of a set of writes; none when there is nothing to write.
pub fn transaction(writes: &Writes) -> Result<Option<Transaction>> {
    let mut transaction = Transaction::default();
    transaction.guards(writes);
    transaction.directory(writes)?;
    transaction.mailboxes(writes);
    transaction.folders(writes);
    transaction.messages(writes);
    transaction.jobs(writes)?;
    transaction.policies(writes);
    transaction.slots(writes)?;
    transaction.dav(writes);
    Ok(if transaction.text.is_empty() { None } else { Some(transaction) })
}
