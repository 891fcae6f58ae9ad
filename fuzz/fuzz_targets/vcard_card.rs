#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inbox_fuzz::vcard_card(data));
