//! Conversations with a server session, row by row of the table of attacks and feature by feature.

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
    every_command_has_its_reply: "commands.txt";
    every_refusal_has_its_words: "refusals.txt";
    si1_si3_false_ends_and_bare_octets: "smuggling.txt";
    si4_octets_out_of_turn: "out_of_turn.txt";
    si5_si6_starttls: "starttls.txt";
    si8_si9_bdat: "bdat.txt";
    si10_submission_and_auth: "submission.txt";
    si11_si12_si38_paths_and_parameters: "parameters.txt";
    si14_si15_junk_errors_and_unknown_recipients: "abuse.txt";
    si16_si17_sizes_and_loops: "sizes.txt";
    si41_other_protocols: "other_protocols.txt";
    lmtp: "lmtp.txt";
    time_and_endings: "time.txt";
    questions_dropped_unanswered: "dropped.txt";
}
