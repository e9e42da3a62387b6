#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| outrigger_fuzz::variants::run(data, outrigger_fuzz::http2::server::run));
