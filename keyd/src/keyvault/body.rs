//! Bodies of requests: one JSON object each.

use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use super::Problem;

/// Reads a body. What is wrong is told by field, by the form that it must have, and by place: a message never repeats a
/// value, which may be secret.
///
/// # Errors
/// [`super::Kind::BadParameter`].
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // A derived reader would take the fields of an array in their order too.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Problem::bad("The request body must be a JSON object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| text(&field(error.path()), error.inner()));
    let whole = reader.end().map_err(|error| text("", &error));
    read.and_then(|value| whole.map(|()| value)).map_err(Problem::bad)
}

/// A field by its path. Names in it are those of the API; of tags they would be the asker's.
fn field(path: &Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            Segment::Map { .. } if text == "tags" => break,
            Segment::Map { key } if text.is_empty() => text.push_str(key),
            Segment::Map { key } => text.push_str(&format!(".{key}")),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

fn text(field: &str, error: &serde_json::Error) -> String {
    let place = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        Category::Data => format!("{} ({place})", wrong(field, &error.to_string())),
        Category::Eof => "The request body ends within its JSON".to_owned(),
        Category::Syntax | Category::Io => format!("The request body is not JSON ({place})"),
    }
}

/// What is wrong with a field, of serde's text for it. Behind its last "expected" stands a form, before it may stand the
/// value.
fn wrong(field: &str, error: &str) -> String {
    let what = error.split(" at line").next().unwrap_or_default();
    let quoted = |prefix| what.strip_prefix(prefix)?.strip_suffix('`');
    let below = |name: &str| match field {
        "" => name.to_owned(),
        above => format!("{above}.{name}"),
    };
    if let Some(name) = quoted("missing field `") {
        return format!("{} is missing", below(name));
    }
    if let Some(name) = quoted("duplicate field `") {
        return format!("{} is there twice", below(name));
    }
    let expected = error.rsplit_once(", expected ").map(|(_, form)| form);
    match expected.and_then(|form| form.rsplit_once(" at line")) {
        Some((form, _)) => format!("{field} must be {}", in_words(form)),
        None => format!("{field} has another form than it must"),
    }
}

/// Rust's names for forms as JSON's.
fn in_words(form: &str) -> &str {
    match form {
        "u32" | "u64" => "a whole number",
        "a boolean" => "true or false",
        "a string" => "a text",
        "a sequence" => "a list",
        "a map" => "an object",
        form if form.starts_with("struct ") => "an object",
        form => form,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Body {
        #[serde(rename = "n")]
        _n: u8,
    }

    fn refusal(body: &str) -> String {
        parse::<Body>(body.as_bytes()).unwrap_err().message
    }

    #[test]
    fn what_is_wrong_is_told_without_values() {
        assert!(parse::<Body>(b" {\"n\":1,\"more\":2}").is_ok());
        assert!(refusal("{}").contains("n is missing"));
        for wrong in ["", "[7]", "7", "null", "{", "{\"n\":", "{\"n\":1}}", "{\"n\":1,\"n\":1}"] {
            assert!(!refusal(wrong).is_empty(), "{wrong}");
        }
        for secret in [
            "{\"n\":\"hunter2\"}",
            "{\"n\":hunter2}",
            "\"hunter2\"",
            "{\"n\":{\"hunter2\":1}}",
            "{\"n\":\", expected hunter2\"}",
            "{\"n\":\"hunter2, expected hunter2 at line 1\"}",
        ] {
            assert!(!refusal(secret).contains("hunter2"), "{secret}: {}", refusal(secret));
        }
        assert!(parse::<Body>("[".repeat(10_000).as_bytes()).is_err());
        assert!(parse::<Body>(format!("{{\"x\":{}", "[".repeat(10_000)).as_bytes()).is_err());
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is read, and that is all")]
    struct Deep {
        key: Option<Inner>,
        many: Option<Vec<Inner>>,
        tags: Option<super::super::tags::Tags>,
        on: Option<bool>,
        value: Option<super::super::Octets>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[serde(rename = "size")]
        _size: u32,
    }

    #[test]
    fn a_field_is_named_with_the_form_that_it_must_have() {
        for (body, told) in [
            (r#"{"key":7}"#, "key must be an object"),
            (r#"{"key":{"size":"2048"}}"#, "key.size must be a whole number"),
            (r#"{"key":{}}"#, "key.size is missing"),
            (r#"{"many":[{"size":1},{"size":-1}]}"#, "many[1].size must be a whole number"),
            (r#"{"many":{}}"#, "many must be a list"),
            (r#"{"tags":{"hunter2":7}}"#, "tags must be a text"),
            (r#"{"on":"yes"}"#, "on must be true or false"),
            (r#"{"value":"Zm8="}"#, "value must be base64url without padding (RFC 7515)"),
            (r#"{"value":7}"#, "value must be base64url without padding (RFC 7515)"),
            (r#"{"on":true,"on":true}"#, "on is there twice"),
        ] {
            let message = parse::<Deep>(body.as_bytes()).unwrap_err().message;
            assert!(message.starts_with(&format!("{told} (line 1, column ")), "{body}: {message}");
        }
    }
}
