//! Bundle and statement on any bytes: never a panic, and what is accepted reads back as itself.
#![no_main]

use jingui_pack::bundle::Bundle;
use jingui_pack::statement::Statement;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(bundle) = Bundle::parse(bytes) {
        assert_eq!(Bundle::parse(&bundle.to_bytes()).unwrap(), bundle);
        let _ = Statement::parse(&bundle.payload);
    }
    if let Ok(statement) = Statement::parse(bytes) {
        let again = Statement::parse(&statement.to_bytes()).unwrap();
        assert_eq!(again.files(), statement.files());
    }
});
