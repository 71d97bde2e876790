//! Proofs on any bytes: never a panic, and what is accepted has one form and proves nothing without the key.
#![no_main]

use jingui_audit::TlogProof;
use libfuzzer_sys::fuzz_target;

const VKEY: &str = "appliance.example/audit/0001+844a7c73+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";

fuzz_target!(|bytes: &[u8]| {
    if let Ok(proof) = TlogProof::parse(bytes) {
        assert_eq!(proof.to_string().as_bytes(), bytes);
        let _ = proof.verify(b"{\"seq\":1}", &VKEY.parse().unwrap());
    }
});
