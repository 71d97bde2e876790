//! The gateway process: the walls first, then the service.

/// Prints the OpenAPI document and exits.
const PRINT_OPENAPI: &str = "--print-openapi";

fn main() {
    if std::env::args().nth(1).as_deref() == Some(PRINT_OPENAPI) {
        print!("{}", jingui_gateway::openapi::document());
    }
}
