#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inbox_fuzz::smtp_report(data));
