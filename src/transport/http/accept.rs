// SPDX-License-Identifier: Apache-2.0
//! Which format a caller wants, by its `Accept` (RFC 9110, section 12.5.1).

use http::HeaderMap;
use http::header::ACCEPT;

use crate::config::StreamFormat;
use crate::proto::body::media_type;

const FORMATS: [StreamFormat; 3] = [StreamFormat::Sse, StreamFormat::Ndjson, StreamFormat::Binary];

/// The format with the highest quality; `preferred` where several have it, or where the caller has no opinion. `None` if
/// the caller accepts none of the three.
pub(super) fn negotiate(headers: &HeaderMap, preferred: StreamFormat) -> Option<StreamFormat> {
    // What our own callers say.
    if let Some(only) = headers.get(ACCEPT)
        && let Some(format) = FORMATS.into_iter().find(|format| only == media_type(*format))
        && headers.get_all(ACCEPT).iter().nth(1).is_none()
    {
        return Some(format);
    }
    let mut ranges = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if ranges.peek().is_none() {
        return Some(preferred);
    }
    let ranges: Vec<Range<'_>> = ranges.flat_map(|value| value.split(',')).filter_map(Range::parse).collect();
    let mut best = None;
    for format in [preferred, StreamFormat::Sse, StreamFormat::Ndjson, StreamFormat::Binary] {
        let quality = quality(&ranges, format);
        if quality > best.map_or(0, |(quality, _)| quality) {
            best = Some((quality, format));
        }
    }
    best.map(|(_, format)| format)
}

/// The format that a `Content-Type` names, whatever its parameters.
pub(super) fn format_of(content_type: &str) -> Option<StreamFormat> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    FORMATS.into_iter().find(|format| essence.eq_ignore_ascii_case(media_type(*format)))
}

/// What the most specific range that matches says, in thousandths.
fn quality(ranges: &[Range<'_>], format: StreamFormat) -> u16 {
    let matching = ranges.iter().filter_map(|range| Some((range.specificity(media_type(format))?, range.quality)));
    matching.max().map_or(0, |(_, quality)| quality)
}

struct Range<'a> {
    pattern: &'a str,
    quality: u16,
}

impl<'a> Range<'a> {
    /// A quality that is no number counts as 1, as an absent one does; what has no slash is no range.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let pattern = parts.next().filter(|pattern| pattern.contains('/'))?;
        let quality = parts
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .and_then(|(_, value)| value.trim().parse::<f32>().ok())
            .map_or(1.0, |quality| quality.clamp(0.0, 1.0));
        Some(Self { pattern, quality: (quality * 1000.0) as u16 })
    }

    fn specificity(&self, media_type: &str) -> Option<u8> {
        if self.pattern == "*/*" {
            return Some(0);
        }
        let (kind, rest) = self.pattern.split_once('/')?;
        if rest == "*" {
            return media_type.split_once('/').filter(|(own, _)| own.eq_ignore_ascii_case(kind)).map(|_| 1);
        }
        self.pattern.eq_ignore_ascii_case(media_type).then_some(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn qualities_decide_and_the_preference_breaks_ties() {
        use StreamFormat::{Binary, Ndjson, Sse};
        for (accept, preferred, expected) in [
            ("*/*", Ndjson, Some(Ndjson)),
            ("text/event-stream", Binary, Some(Sse)),
            ("application/x-ndjson;q=0.5, text/event-stream;q=0.4", Sse, Some(Ndjson)),
            ("text/event-stream, application/octet-stream", Binary, Some(Binary)),
            ("application/*", Sse, Some(Ndjson)),
            ("*/*;q=0.1, application/octet-stream", Sse, Some(Binary)),
            ("text/event-stream;q=0, */*", Sse, Some(Ndjson)),
            ("TEXT/Event-Stream ; Q=1", Ndjson, Some(Sse)),
            ("text/event-stream;q=NaN", Ndjson, None),
            ("text/html, image/*", Sse, None),
            ("nonsense", Sse, None),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(negotiate(&headers, preferred), expected, "{accept}");
        }
        assert_eq!(negotiate(&HeaderMap::new(), Binary), Some(Binary));
    }

    #[test]
    fn content_types_are_read_without_their_parameters() {
        assert_eq!(format_of("text/event-stream; charset=utf-8"), Some(StreamFormat::Sse));
        assert_eq!(format_of("application/json"), None);
    }
}
