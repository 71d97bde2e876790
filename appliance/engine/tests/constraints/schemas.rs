//! Whatever schema is drawn, an answer that ends fits it.

use jingui_engine::sampling::Random;
use jingui_ipc::engine::Grammar;
use serde_json::{Value, json};

use crate::judge::fault;
use crate::table::{CONSTRAINTS, answer, at_once};

const SCHEMA_COUNT: u64 = 100;

/// Draws schemas of the supported subset.
struct Drawer {
    random: Random,
}

impl Drawer {
    fn below(&mut self, count: u64) -> u64 {
        self.random.next_u64() % count
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn schema(&mut self, depth: u64) -> Value {
        match self.below(if depth == 0 { 8 } else { 13 }) {
            0 => json!({"type": "boolean"}),
            1 => json!({"type": "null"}),
            2 => self.string(),
            3 => json!({"enum": [self.pick(&["a", "Ü\"\n", "{}"]), 7, -1, null, true, 2.5]}),
            4 => json!({"const": self.pick(&["x", "</think>", ""])}),
            5 => self.number(),
            6 => json!({"type": ["string", "null"], "maxLength": 5}),
            7 => json!({"type": "integer", "minimum": self.below(50), "maximum": 50 + self.below(1000)}),
            8 => self.array(depth - 1),
            9 => json!({"anyOf": [self.schema(depth - 1), {"type": "null"}]}),
            10 => json!({"$ref": "#/$defs/node"}),
            11 => {
                json!({"type": "array", "prefixItems": [self.schema(depth - 1), {"type": "integer"}], "items": false, "minItems": 2})
            }
            _ => self.object(depth - 1),
        }
    }

    fn string(&mut self) -> Value {
        match self.below(5) {
            0 => json!({"type": "string"}),
            1 => json!({"type": "string", "minLength": self.below(4), "maxLength": 4 + self.below(9)}),
            2 => {
                json!({"type": "string", "pattern": self.pick(&["^[a-c]{2,4}$", "\\d", "^x|y$", "^(foo|bar)+$"])})
            }
            3 => {
                json!({"type": "string", "format": self.pick(&["date", "uuid", "ipv4", "date-time", "email"])})
            }
            _ => json!({"type": "string", "enum": ["north", "south", "\\\"", "日本"]}),
        }
    }

    fn number(&mut self) -> Value {
        match self.below(5) {
            0 => json!({"type": "number"}),
            1 => json!({"type": "number", "minimum": -1.5, "exclusiveMaximum": 10}),
            2 => json!({"type": "integer", "multipleOf": 5}),
            3 => json!({"type": "integer", "exclusiveMinimum": -3, "maximum": 12345}),
            _ => json!({"type": "integer"}),
        }
    }

    fn array(&mut self, depth: u64) -> Value {
        let least = self.below(3);
        json!({"type": "array", "items": self.schema(depth), "minItems": least, "maxItems": least + self.below(4)})
    }

    fn object(&mut self, depth: u64) -> Value {
        let names = ["a", "b c", "日", "\"q\"", "long_name"];
        let count = self.below(4) + 1;
        let mut properties = serde_json::Map::new();
        let mut required = Vec::new();
        for name in names.iter().take(count as usize) {
            properties.insert((*name).to_owned(), self.schema(depth));
            if self.below(3) > 0 {
                required.push(json!(name));
            }
        }
        let mut schema = json!({"type": "object", "properties": properties, "required": required});
        match self.below(4) {
            0 => schema["additionalProperties"] = self.schema(0),
            1 => {}
            _ => schema["additionalProperties"] = json!(false),
        }
        schema
    }
}

#[test]
fn every_answer_that_ends_fits_its_schema() {
    let (mut ended_count, mut refused) = (0, Vec::new());
    for seed in 0..SCHEMA_COUNT {
        let mut drawer = Drawer {
            random: Random::new(seed),
        };
        let mut schema = drawer.object(3);
        schema["$defs"] = json!({"node": {
            "type": "object", "required": ["next"], "additionalProperties": false,
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
        }});
        let grammar = at_once(Grammar::JsonSchema(schema.to_string()));
        for round in 0..2 {
            let matcher = match CONSTRAINTS.compile(&grammar) {
                Ok(matcher) => matcher,
                Err(error) => {
                    refused.push((error, schema.clone()));
                    break;
                }
            };
            let made = answer(matcher, seed * 10 + round, 500);
            if made.has_ended {
                ended_count += 1;
                let text = String::from_utf8_lossy(&made.bytes);
                let value: Value =
                    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
                let fault = fault(&value, &schema, &schema);
                assert!(fault.is_none(), "{value}\ndoes not fit\n{schema}\n{fault:?}");
            }
        }
    }
    assert!(
        refused.is_empty(),
        "{} refused, first: {:?}",
        refused.len(),
        refused.first()
    );
    assert!(
        ended_count > SCHEMA_COUNT,
        "only {ended_count} answers ended by themselves"
    );
}
