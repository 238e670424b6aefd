//! Cells that hold more than one value: objects, arrays, lists, points, geometries.
//!
//! JSON in a cell nests at most 127 deep; what is deeper is a type error. Called by `kind` and `constraints`.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde_json::Value as Json;

use super::Value;
use super::number::NumberForm;

/// How a point is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PointFormat {
    /// `lon, lat`
    Default,
    Array,
    Object,
}

/// Members of a JSON object, none when it is none. A name that stands twice counts once.
pub(super) fn object_length(cell: &str) -> Option<usize> {
    if !cell.trim_start().starts_with('{') {
        return None;
    }
    serde_json::from_str::<BTreeMap<String, IgnoredAny>>(cell).ok().map(|members| members.len())
}

/// Items of a JSON array, none when it is none.
pub(super) fn array_length(cell: &str) -> Option<usize> {
    if !cell.trim_start().starts_with('[') {
        return None;
    }
    serde_json::from_str::<Vec<IgnoredAny>>(cell).ok().map(|items| items.len())
}

/// Longitude and latitude in degrees.
pub(super) fn point(cell: &str, format: PointFormat) -> Option<(Value, Value)> {
    let form = NumberForm::default();
    let (lon, lat) = match format {
        PointFormat::Default => {
            let (lon, lat) = cell.split_once(',')?;
            (form.number(lon)?, form.number(lat.strip_prefix(' ').unwrap_or(lat))?)
        }
        PointFormat::Array => match serde_json::from_str::<Vec<serde_json::Number>>(cell).ok()?.as_slice() {
            [lon, lat] => (form.number(&lon.to_string())?, form.number(&lat.to_string())?),
            _ => return None,
        },
        PointFormat::Object => {
            let members = serde_json::from_str::<BTreeMap<String, serde_json::Number>>(cell).ok()?;
            if members.len() != 2 {
                return None;
            }
            (form.number(&members.get("lon")?.to_string())?, form.number(&members.get("lat")?.to_string())?)
        }
    };
    (within(lon, 180) && within(lat, 90)).then_some((lon, lat))
}

fn within(value: Value, most: i128) -> bool {
    let Value::Number { mantissa, scale } = value else { return false };
    super::number::compare(mantissa.saturating_abs(), scale, most, 0).is_le()
}

/// RFC 7946: the type is known and has the members that it needs.
pub(super) fn is_geojson(cell: &str) -> bool {
    serde_json::from_str::<Json>(cell).is_ok_and(|json| geojson(&json))
}

fn geojson(json: &Json) -> bool {
    let object_or_null = |name: &str| json.get(name).is_some_and(|value| value.is_object() || value.is_null());
    match json.get("type").and_then(Json::as_str) {
        Some("FeatureCollection") => {
            json.get("features").and_then(Json::as_array).is_some_and(|features| features.iter().all(is_feature))
        }
        Some("Feature") => object_or_null("properties") && is_feature(json),
        _ => geometry(json),
    }
}

fn is_feature(json: &Json) -> bool {
    json.get("type").and_then(Json::as_str) == Some("Feature")
        && json.get("geometry").is_some_and(|shape| shape.is_null() || geometry(shape))
}

fn geometry(json: &Json) -> bool {
    let depth = match json.get("type").and_then(Json::as_str) {
        Some("Point") => 0,
        Some("MultiPoint" | "LineString") => 1,
        Some("MultiLineString" | "Polygon") => 2,
        Some("MultiPolygon") => 3,
        Some("GeometryCollection") => {
            return json.get("geometries").and_then(Json::as_array).is_some_and(|all| all.iter().all(geometry));
        }
        _ => return false,
    };
    json.get("coordinates").is_some_and(|coordinates| positions(coordinates, depth))
}

/// Arrays this deep around positions, which are two numbers or more.
fn positions(json: &Json, depth: u8) -> bool {
    let Some(items) = json.as_array() else { return false };
    match depth {
        0 => items.len() >= 2 && items.iter().all(Json::is_number),
        _ => items.iter().all(|item| positions(item, depth - 1)),
    }
}

/// A TopoJSON topology (https://github.com/topojson/topojson-specification).
pub(super) fn is_topojson(cell: &str) -> bool {
    let Ok(json) = serde_json::from_str::<Json>(cell) else { return false };
    json.get("type").and_then(Json::as_str) == Some("Topology")
        && json.get("objects").is_some_and(Json::is_object)
        && json.get("arcs").is_some_and(|arcs| {
            positions(arcs, 2) || arcs.as_array().is_some_and(|arcs| arcs.iter().all(|arc| positions(arc, 1)))
        })
}

/// Bytes that are equal for equal JSON: members sorted, white space gone.
pub(super) fn canonical_json(cell: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    write_sorted(&serde_json::from_str(cell).ok()?, &mut bytes);
    Some(bytes)
}

fn write_sorted(json: &Json, into: &mut Vec<u8>) {
    match json {
        Json::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            into.push(b'{');
            for (name, value) in sorted {
                into.extend(Json::from(name.as_str()).to_string().bytes());
                write_sorted(value, into);
            }
            into.push(b'}');
        }
        Json::Array(items) => {
            into.push(b'[');
            items.iter().for_each(|item| write_sorted(item, into));
            into.push(b']');
        }
        Json::Number(number) => match NumberForm::default().number(&number.to_string()) {
            Some(value) => value.canonical(&number.to_string(), into),
            None => into.extend(number.to_string().bytes()),
        },
        other => {
            into.extend(other.to_string().bytes());
            into.push(b',');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_arrays_are_json_of_their_kind() {
        assert_eq!(
            (object_length(r#" {"a":1,"b":[2]} "#), object_length("[1]"), object_length("{a:1}")),
            (Some(2), None, None)
        );
        assert_eq!(
            (array_length("[1,\"x\",{}]"), array_length("{}"), array_length("[1,]"), array_length("")),
            (Some(3), None, None, None)
        );
        assert_eq!(array_length(&"[".repeat(1 << 20)), None);
    }

    #[test]
    fn points_have_a_longitude_and_a_latitude_on_the_earth() {
        for (cell, format) in [
            ("90.50, 45.50", PointFormat::Default),
            ("-180,90", PointFormat::Default),
            ("[90.5, 45]", PointFormat::Array),
            (r#"{"lon": 90.50, "lat": 45.50}"#, PointFormat::Object),
        ] {
            assert!(point(cell, format).is_some(), "{cell}");
        }
        for (cell, format) in [
            ("90.50", PointFormat::Default),
            ("181,0", PointFormat::Default),
            ("0,90.1", PointFormat::Default),
            ("1,  2", PointFormat::Default),
            ("1,2,3", PointFormat::Default),
            ("NaN,1", PointFormat::Default),
            ("[1]", PointFormat::Array),
            ("[1,2,3]", PointFormat::Array),
            ("[\"1\",2]", PointFormat::Array),
            (r#"{"lon":1}"#, PointFormat::Object),
            (r#"{"lon":1,"lat":2,"x":3}"#, PointFormat::Object),
        ] {
            assert!(point(cell, format).is_none(), "{cell}");
        }
    }

    #[test]
    fn geometries_have_what_their_type_needs() {
        for cell in [
            r#"{"type":"Point","coordinates":[1,2]}"#,
            r#"{"type":"Polygon","coordinates":[[[1,2],[3,4],[5,6],[1,2]]]}"#,
            r#"{"type":"Feature","geometry":null,"properties":{}}"#,
            r#"{"type":"FeatureCollection","features":[]}"#,
            r#"{"type":"GeometryCollection","geometries":[{"type":"Point","coordinates":[1,2]}]}"#,
        ] {
            assert!(is_geojson(cell), "{cell}");
        }
        for cell in [
            "",
            "{}",
            "[]",
            r#"{"type":"Point"}"#,
            r#"{"type":"Point","coordinates":[[1,2]]}"#,
            r#"{"type":"Circle","coordinates":[1,2]}"#,
        ] {
            assert!(!is_geojson(cell), "{cell}");
        }
        assert!(is_topojson(r#"{"type":"Topology","objects":{},"arcs":[[[1,2],[3,4]]]}"#));
        assert!(
            !is_topojson(r#"{"type":"Topology","objects":{}}"#)
                && !is_topojson(r#"{"type":"Point","coordinates":[1,2]}"#)
        );
    }

    #[test]
    fn equal_json_is_equal_however_it_is_spaced_and_sorted() {
        let same = |a, b| canonical_json(a) == canonical_json(b);
        assert!(same(r#"{"a":1,"b":[1.0, "x"]}"#, r#"{ "b":[1,"x"],"a":1 }"#));
        assert!(!same("[1,2]", "[12]") && !same("[\"1\"]", "[1]") && !same("[[1],2]", "[[1,2]]"));
    }
}
