//! Conversations with a server session over a mailbox in memory, command by command and row by row of the
//! table of attacks.

mod player;

macro_rules! dialogues {
    ($($name:ident: $file:literal;)*) => {$(
        #[test]
        fn $name() {
            player::play($file);
        }
    )*};
}

dialogues! {
    greeting_capabilities_and_endings: "session.txt";
    im9_starttls: "starttls.txt";
    im10_no_log_in_without_tls: "login.txt";
    authenticate: "authenticate.txt";
    im1_im2_lines_and_literals: "limits.txt";
    bad_commands: "bad.txt";
    select_and_examine: "select.txt";
    folders: "folders.txt";
    list_and_lsub: "list.txt";
    status_and_namespace: "status.txt";
    im16_append: "append.txt";
    fetch_of_what_is_known: "fetch.txt";
    fetch_of_content: "fetch_content.txt";
    fetch_of_structure: "fetch_structure.txt";
    store: "store.txt";
    im4_search: "search.txt";
    copy_and_move: "copy.txt";
    expunge_and_close: "expunge.txt";
    idle: "idle.txt";
    changes_by_others: "changes.txt";
    condstore: "condstore.txt";
    time: "time.txt";
    questions_refused_or_dropped: "dropped.txt";
    im12_what_is_not_there_and_what_is_not_ones_own: "nonexistent.txt";
    im6_a_client_that_does_not_read: "pressure.txt";
}
