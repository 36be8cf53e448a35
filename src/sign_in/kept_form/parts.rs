//! A form's body in its parts: `application/x-www-form-urlencoded` and `multipart/form-data`, as
//! browsers write them. Whatever a browser would not write is not kept, so nothing is guessed.

use std::borrow::Cow;

use super::NotKept;

/// One field as the browser sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) name: Cow<'a, [u8]>,
    pub(super) value: Cow<'a, [u8]>,
    /// A file field in which no file was chosen.
    pub(super) empty_file: bool,
}

/// The fields of an urlencoded form (WHATWG URL Standard §5.1).
pub(super) fn urlencoded(body: &[u8]) -> Result<Vec<Part<'_>>, NotKept> {
    let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let equals = pair.iter().position(|byte| *byte == b'=').ok_or(NotKept::Unfaithful)?;
            let (name, value) = pair.split_at_checked(equals).ok_or(NotKept::Unfaithful)?;
            let value = value.get(1..).unwrap_or_default();
            Ok(Part { name: decoded(name)?, value: decoded(value)?, empty_file: false })
        })
        .collect()
}

fn decoded(text: &[u8]) -> Result<Cow<'_, [u8]>, NotKept> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, after) = rest.split_first_chunk::<2>().ok_or(NotKept::Unfaithful)?;
                let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(NotKept::Unfaithful);
                let [high, low] = *digits;
                let value = digit(high)? * 16 + digit(low)?;
                bytes.push(u8::try_from(value).map_err(|_| NotKept::Unfaithful)?);
                rest = after;
            }
            byte => bytes.push(*byte),
        }
    }
    Ok(Cow::Owned(bytes))
}

/// The fields of a multipart form (RFC 7578) with the parameters of its content type.
pub(super) fn multipart<'a>(body: &'a [u8], content_type: &str) -> Result<Vec<Part<'a>>, NotKept> {
    let boundary = boundary(content_type).ok_or(NotKept::Unfaithful)?;
    let between = format!("\r\n--{boundary}");
    let first = between.as_bytes().get(2..).unwrap_or_default();
    let mut rest = body.strip_prefix(first).ok_or(NotKept::Unfaithful)?;
    let mut parts = Vec::new();
    loop {
        if let Some(end) = rest.strip_prefix(b"--") {
            let whole = end.is_empty() || end == b"\r\n";
            return if whole { Ok(parts) } else { Err(NotKept::Unfaithful) };
        }
        let part = rest.strip_prefix(b"\r\n").ok_or(NotKept::Unfaithful)?;
        let (head, content) = split(part, b"\r\n\r\n").ok_or(NotKept::Unfaithful)?;
        let (value, after) = split(content, between.as_bytes()).ok_or(NotKept::Unfaithful)?;
        parts.push(part_of(head, value)?);
        rest = after;
    }
}

/// Browsers write it without quotes; RFC 2046 §5.1.1 allows them, and up to 70 characters.
fn boundary(content_type: &str) -> Option<&str> {
    let parameters = content_type.split(';').skip(1).map(str::trim);
    let mut boundaries = parameters.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then_some(value)
    });
    let boundary = boundaries.next()?;
    let boundary = boundary.strip_prefix('"').map_or(Some(boundary), |b| b.strip_suffix('"'))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    let fits = (1..=70).contains(&boundary.len()) && boundary.bytes().all(plain);
    (fits && boundaries.next().is_none()).then_some(boundary)
}

/// A part with `Content-Disposition` alone is a field; with a file name it is a file.
fn part_of<'a>(head: &'a [u8], value: &'a [u8]) -> Result<Part<'a>, NotKept> {
    let mut disposition = None;
    let mut has_type = false;
    let mut rest = head;
    loop {
        let (line, after) = split(rest, b"\r\n").unwrap_or((rest, b""));
        let colon = line.iter().position(|byte| *byte == b':').ok_or(NotKept::Unfaithful)?;
        let (name, text) = line.split_at_checked(colon).ok_or(NotKept::Unfaithful)?;
        let text = text.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-disposition") && disposition.is_none() {
            disposition = Some(text);
        } else if name.eq_ignore_ascii_case(b"content-type") && !has_type {
            has_type = true;
        } else {
            return Err(NotKept::Unfaithful);
        }
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    let disposition = disposition.ok_or(NotKept::Unfaithful)?;
    let (name, file) = names(disposition).ok_or(NotKept::Unfaithful)?;
    match file {
        None if has_type => Err(NotKept::Unfaithful),
        Some(file) if !file.is_empty() || !value.is_empty() => Err(NotKept::Files),
        file => Ok(Part {
            name: Cow::Borrowed(name),
            value: Cow::Borrowed(value),
            empty_file: file.is_some(),
        }),
    }
}

/// `form-data; name="a"; filename="b"`. Browsers write `"` inside as `%22` (HTML, "multipart/
/// form-data encoding algorithm"); such a name stays as it is, since it is sent that way again.
fn names(disposition: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let (name, rest) = split(disposition.strip_prefix(b"form-data; name=\"")?, b"\"")?;
    if rest.is_empty() {
        return Some((name, None));
    }
    let (file, rest) = split(rest.strip_prefix(b"; filename=\"")?, b"\"")?;
    rest.is_empty().then_some((name, Some(file)))
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let index = bytes.windows(at.len()).position(|window| window == at)?;
    let (before, rest) = bytes.split_at_checked(index)?;
    Some((before, rest.get(at.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=----WebKitFormBoundaryx";

    fn body(parts: &[(&str, &str)]) -> String {
        let part = |(head, value): &(&str, &str)| {
            ["------WebKitFormBoundaryx\r\n", head, "\r\n\r\n", value, "\r\n"].concat()
        };
        parts.iter().map(part).collect::<String>() + "------WebKitFormBoundaryx--\r\n"
    }

    fn field(name: &str, value: &str) -> Part<'static> {
        let owned = |text: &str| Cow::Owned(text.as_bytes().to_vec());
        Part { name: owned(name), value: owned(value), empty_file: false }
    }

    #[test]
    fn an_urlencoded_form_comes_apart_in_order_with_its_doubles() {
        let parts = urlencoded(b"a=1&b=%C3%A4+%2B&a=&c=%fc").unwrap();
        let last = Part { value: Cow::Borrowed(b"\xfc"), ..field("c", "") };
        assert_eq!(parts, [field("a", "1"), field("b", "ä +"), field("a", ""), last]);
        assert_eq!(urlencoded(b"").unwrap(), []);
    }

    #[test]
    fn an_urlencoded_form_that_no_browser_wrote_is_not_kept() {
        for form in ["a", "a=%", "a=%1", "a=%+1", "a=%zz"] {
            assert_eq!(urlencoded(form.as_bytes()), Err(NotKept::Unfaithful), "{form}");
        }
    }

    #[test]
    fn a_multipart_form_without_files_comes_apart() {
        let text = body(&[
            ("Content-Disposition: form-data; name=\"a\"", "1\r\n2"),
            ("Content-Disposition: form-data; name=\"x%22y\"", ""),
            (
                "Content-Disposition: form-data; name=\"up\"; filename=\"\"\r\nContent-Type: \
                 application/octet-stream",
                "",
            ),
        ]);
        let parts = multipart(text.as_bytes(), TYPE).unwrap();
        let upload = Part { empty_file: true, ..field("up", "") };
        assert_eq!(parts, [field("a", "1\r\n2"), field("x%22y", ""), upload]);
        assert_eq!(multipart(b"------WebKitFormBoundaryx--", TYPE).unwrap(), []);
    }

    #[test]
    fn a_form_with_a_file_is_known_by_it() {
        for (head, value) in [
            ("Content-Disposition: form-data; name=\"f\"; filename=\"a.txt\"", ""),
            ("Content-Disposition: form-data; name=\"f\"; filename=\"\"", "x"),
        ] {
            let text = body(&[(head, value)]);
            assert_eq!(multipart(text.as_bytes(), TYPE), Err(NotKept::Files), "{head}");
        }
    }

    #[test]
    fn a_multipart_form_that_no_browser_wrote_is_not_kept() {
        let good = body(&[("Content-Disposition: form-data; name=\"a\"", "1")]);
        for cut in 0..good.len() - 2 {
            let cut = good.as_bytes().get(..cut).unwrap();
            assert_eq!(multipart(cut, TYPE), Err(NotKept::Unfaithful), "{}", cut.len());
        }
        for head in [
            "Content-Disposition: form-data; name=a",
            "Content-Disposition: form-data; name=\"a\"; x=\"y\"",
            "Content-Disposition: attachment; name=\"a\"",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"b\"",
            "Content-Disposition: form-data; name=\"a\"\r\nX: y",
            "Content-Type: text/plain",
            "",
        ] {
            let text = body(&[(head, "1")]);
            assert_eq!(multipart(text.as_bytes(), TYPE), Err(NotKept::Unfaithful), "{head}");
        }
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        for kind in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=----WebKitFormBoundaryx; boundary=y",
            "multipart/form-data; boundary=\"----WebKitFormBoundaryx",
            long.as_str(),
        ] {
            assert_eq!(multipart(good.as_bytes(), kind), Err(NotKept::Unfaithful), "{kind}");
        }
        let quoted = "multipart/form-data; boundary=\"----WebKitFormBoundaryx\"";
        assert_eq!(multipart(good.as_bytes(), quoted).unwrap(), [field("a", "1")]);
    }
}
