#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qnnsim_fuzz::program(data));
