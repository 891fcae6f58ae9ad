use super::*;

/// Written anew when INBOX_WRITE_SCHEMA is set.
#[test]
fn the_schema_in_the_documents_is_that_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema.graphql");
    let sdl = schema().sdl();
    if std::env::var_os("INBOX_WRITE_SCHEMA").is_some() {
        std::fs::write(path, &sdl).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        sdl,
        "set INBOX_WRITE_SCHEMA=1 to write docs/schema.graphql"
    );
}

/// The types, fields, arguments and values of the schema that nobody has described.
fn undescribed(sdl: &str) -> Vec<String> {
    let mut described = false;
    let mut missing = Vec::new();
    let mut in_text = false;
    for line in sdl.lines().map(str::trim) {
        let quotes = line.matches("\"\"\"").count();
        if quotes > 0 || in_text {
            in_text ^= quotes % 2 == 1;
            described = true;
            continue;
        }
        let is_item = !line.is_empty()
            && !matches!(line.chars().next(), Some('}' | ')' | '#'))
            && !["schema ", "query:", "mutation:", "subscription:", "directive "]
                .iter()
                .any(|w| line.starts_with(w));
        if is_item && !described {
            missing.push(line.to_owned());
        }
        described = false;
    }
    missing
}

#[test]
fn everything_in_the_schema_is_described() {
    assert_eq!(undescribed("\"\"\"\nA.\n\"\"\"\ntype A {\n  b: Int\n}\n"), ["b: Int"]);
    let sdl = schema().sdl_with_options(async_graphql::SDLExportOptions::new());
    // The library describes the fields of a connection, but not the type itself.
    let own = |line: &String| !line.starts_with("scalar ") && line != "type EmailConnection {";
    let missing: Vec<String> = undescribed(&sdl).into_iter().filter(own).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_error_has_a_code() {
    let response = response_of(ApiError::argument("to[0]", "ADDRESS", "to[0]: no address"));
    let json = serde_json::to_value(&response).unwrap();
    let extensions = &json["errors"][0]["extensions"];
    assert_eq!(extensions["code"], "INVALID_ARGUMENT");
    assert_eq!((&extensions["argument"], &extensions["reason"]), (&"to[0]".into(), &"ADDRESS".into()));
}
