use std::path::Path;

use super::*;
use crate::check::{Encoding, TableRules};
use crate::config::{Config, Diagnostic, dataset_file, load, load_with_warnings};

const SCHEMA: &str = r#"{
  "fields": [
    {"name": "id", "type": "string", "constraints": {"required": true}},
    {"name": "on", "type": "date"},
    {"name": "to", "type": "date"},
    {"name": "units", "type": "integer"},
    {"name": "fee", "type": "number"},
    {"name": "consent", "type": "string"}
  ],
  "primaryKey": "id"
}"#;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn told(errors: &[Diagnostic]) -> Vec<String> {
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    errors.iter().map(|e| format!("{}:{}:{} {}", name(&e.file), e.line, e.column, e.message)).collect()
}

/// The dataset of this TOML, with the schema above beside it; or its errors.
fn read(toml: &str) -> Result<Dataset, Vec<String>> {
    let folder = folder(&[("x.toml", &format!("title = \"x\"\n{toml}")), ("s.json", SCHEMA)]);
    dataset_file(&folder.path().join("x.toml")).map(|(dataset, _)| dataset).map_err(|errors| told(&errors))
}

fn table(dataset: &Dataset) -> &TableRules {
    dataset.rules.table.as_deref().unwrap()
}

#[test]
fn a_dataset_that_says_nothing_has_the_defaults() {
    let dataset = read("").unwrap();
    let table = table(&dataset);
    assert!(table.schema.is_none() && table.encoding == Encoding::Utf8);
    assert_eq!(table.policy, crate::check::Policy::default());
    assert_eq!(table.limits, crate::check::Limits::default());
    assert_eq!(dataset.rules.compression, [Compression::Gzip, Compression::Zip]);
    assert_eq!(dataset.rules.unpack, UnpackLimits { size: MAX_SIZE, ratio: 200 });
    assert_eq!((dataset.on_reject, dataset.repeated, dataset.scan), (OnReject::Discard, Severity::Flag, false));
    assert_eq!(dataset.companion, Companion::default());
    assert!(read("format = \"opaque\"").unwrap().rules.table.is_none());
}

#[test]
fn every_key_is_read() {
    let dataset = read(
        r#"description = "d"
format = "csv"
schema = "s.json"
name = '(?P<agency>[A-Z]+)_(?P<period>[0-9]{4}-[0-9]{2})\.csv'
name_hint = "A_YYYY-MM.csv"
allow_empty = true
max_size = "1MiB"
encoding = "windows-1252"
compression = ["gzip"]
on_reject = "quarantine"
scan = "required"
repeated = "reject"
[dialect]
delimiter = "\t"
quote = ""
header = true
[limits]
row = "2KiB"
columns = 10
keys = "2MiB"
errors = 5
unpacked = "3MiB"
ratio = 50
[policy]
formulas = "accept"
hidden_characters = "accept"
mojibake = "accept"
control_characters = "accept"
mixed_line_ends = "accept"
cr_line_ends = "accept"
no_final_line_end = "accept"
trailing_blank_rows = "accept"
label_spaces = "accept"
value_spaces = "accept"
unpadded_dates = "accept"
[rows]
least = 1
most = 10
change = { less = "50%", more = "200%", verdict = "reject" }
[companion]
kinds = ["sha256", "md5", "totals"]
required = true
[totals]
columns = ["units", "fee"]
[forbidden_columns]
sets = ["names", "addresses", "contacts", "identifiers"]
labels = ["Shoe Size"]
[[rules]]
kind = "any-present"
columns = ["id", "consent"]
verdict = "flag"
label = "needs one of the two"
[[rules]]
kind = "nhs-number"
columns = ["id"]
[[rules]]
kind = "uk-postcode"
columns = ["id"]
[[rules]]
kind = "ods-code"
columns = ["id"]
[[rules]]
kind = "not-in-future"
columns = ["on"]
[[rules]]
kind = "in-order"
columns = ["on", "to"]
[[rules]]
kind = "within-period"
columns = ["on"]
part = "period"
[[rules]]
kind = "same-as-name"
column = "id"
part = "agency"
[[rules]]
kind = "product"
column = "fee"
factors = ["units"]
tolerance = "0.01"
[[rules]]
kind = "consent"
column = "consent"
given = ["Y"]
[[rules]]
kind = "objection"
when = { "id" = "XX", "on" = "1955-05-05" }
partial = "accept"
"#,
    );
    let dataset = dataset.unwrap();
    let own = table(&dataset);
    assert_eq!((own.dialect.delimiter, own.dialect.quote, own.encoding), (b'\t', None, Encoding::Windows1252));
    assert_eq!((own.limits.row, own.limits.columns, own.limits.keys, own.limits.errors), (2048, 10, 2 << 20, 5));
    assert_eq!(dataset.rules.unpack, UnpackLimits { size: 3 << 20, ratio: 50 });
    assert!(!format!("{:?}", own.policy).contains("Reject") && !format!("{:?}", own.policy).contains("Flag"));
    assert_eq!(own.rules.describe().len(), 14, "{:#?}", own.rules.describe());
    assert_eq!((dataset.on_reject, dataset.repeated, dataset.scan), (OnReject::Quarantine, Severity::Reject, true));
    assert!(dataset.companion.required && dataset.companion.kinds.len() == 3);
}

#[test]
fn what_is_wrong_is_told_at_its_place() {
    for (toml, wanted) in [
        ("encodign = \"utf-8\"", "x.toml:2:1 unknown key \"encodign\""),
        ("encoding = \"latin1\"", "x.toml:2:12 encoding: \"latin1\" is not known here"),
        ("compression = [\"bzip2\"]", "x.toml:2:16 compression: \"bzip2\" is not known here"),
        ("compression = [\"gzip\", \"gzip\"]", "x.toml:2:24 compression: the same kind twice"),
        ("compression = []\n[limits]\nratio = 3", "x.toml:2:15 compression is empty, so"),
        ("[dialect]\ndelimiter = \",,\"", "x.toml:3:13 delimiter: is not one ASCII character"),
        ("[dialect]\ndelimiter = \"x\"", "x.toml:3:13 delimiter: \"x\" is a letter or digit"),
        ("[dialect]\ndelimiter = \"\\n\"", "x.toml:3:13 delimiter: is not one ASCII character"),
        ("[dialect]\nquote = \",\"", "x.toml:3:9 delimiter and quote are the same"),
        ("[dialect]\nheader = false", "x.toml:2:1 header = false without a schema"),
        (
            "schema = \"s.json\"\n[dialect]\nheader = false\n[forbidden_columns]\nsets = [\"names\"]",
            "x.toml:5:1 forbidden_columns: without a header",
        ),
        ("[limits]\nrows = 3", "x.toml:3:1 unknown key \"rows\" in [limits]"),
        ("[policy]\nformulas = \"warn\"", "x.toml:3:12 formulas: \"warn\" is not known here"),
        ("[rows]\nchange = { less = 50 }", "x.toml:3:19 less: has no per cent sign"),
        ("[rows]\nchange = { less = \"half\" }", "x.toml:3:19 less: \"half\" has no per cent sign"),
        ("[rows]\nchange = { less = \"500%\" }", "x.toml:2:1 rows: change.less is more than 100%"),
        ("[rows]\nleast = 5\nmost = 4", "x.toml:2:1 rows: least is more than most"),
        ("[forbidden_columns]", "x.toml:2:1 forbidden_columns forbids nothing"),
        ("[companion]\nrequired = true", "x.toml:3:12 required: no kind of companion is taken"),
        ("name = \".*\"\n[companion]\nkinds = [\"sha256\"]", "x.toml:4:9 companion: names that end in .sha256"),
        ("format = \"opaque\"\n[companion]\nkinds = [\"md5\"]", "x.toml:4:9 companion: names that end in .md5"),
        ("schema = \"s.json\"\n[totals]\ncolumns = [\"fee\"]", "x.toml:3:1 totals: no companion is taken"),
        ("schema = \"s.json\"\n[companion]\nkinds = [\"totals\"]\n[totals]\ncolumns = [\"id\"]", "x.toml:5:1 totals: "),
        ("format = \"opaque\"\n[dialect]\nquote = \"\"", "x.toml:3:1 dialect: an opaque dataset has no cells"),
        ("format = \"opaque\"\nschema = \"s.json\"", "x.toml:3:10 schema: an opaque dataset has no columns"),
        ("[[rules]]\nkind = \"nhs-number\"\ncolumns = [\"id\"]", "x.toml:2:1 nhs-number: the dataset has no schema"),
        ("schema = \"s.json\"\n[[rules]]\nkind = \"nhs-nmber\"", "x.toml:4:8 kind: \"nhs-nmber\" is not known here"),
        ("schema = \"s.json\"\n[[rules]]\ncolumns = [\"id\"]", "x.toml:3:1 kind is missing under [[rules]]"),
        ("schema = \"s.json\"\n[[rules]]\nkind = \"nhs-number\"\ncolumns = [\"ID\"]", "x.toml:3:1 nhs-number: "),
        ("schema = \"s.json\"\n[[rules]]\nkind = \"nhs-number\"\ncolumns = []", "x.toml:5:11 columns is empty"),
        (
            "schema = \"s.json\"\n[[rules]]\nkind = \"nhs-number\"\ncolumns = [\"id\"]\npart = \"x\"",
            "x.toml:6:1 unknown key \"part\"",
        ),
        (
            "schema = \"s.json\"\n[[rules]]\nkind = \"within-period\"\ncolumns = [\"on\"]\npart = \"period\"",
            "x.toml:3:1 within-period: ",
        ),
        (
            "schema = \"s.json\"\n[[rules]]\nkind = \"consent\"\ncolumn = \"id\"\ngiven = [\"Y\"]\nverdict = \"flag\"",
            "x.toml:7:11 verdict: consent restricts rows",
        ),
        (
            "schema = \"s.json\"\n[[rules]]\nkind = \"product\"\ncolumn = \"fee\"\nfactors = [\"units\"]\ntolerance = 0.01",
            "x.toml:7:13 tolerance: is a number without quotes",
        ),
        ("schema = \"s.json\"\n[[rules]]\nkind = \"objection\"\nwhen = {}", "x.toml:5:8 when is empty"),
        ("schema = \"no.json\"", "x.toml:2:10 schema: there is no file"),
    ] {
        let errors = read(toml).err().unwrap_or_default();
        assert!(errors.iter().any(|error| error.starts_with(wanted)), "{toml}\nwanted {wanted}\ngot {errors:#?}");
        assert_eq!(errors.len(), 1, "{toml}: one fault, one error: {errors:#?}");
    }
}

const WITH_LIST: &str = r#"{"fields": [{"name": "practice", "type": "string"}],
 "foreignKeys": [{"fields": "practice", "reference": {"resource": "practices", "fields": "code"}}]}"#;

#[test]
fn code_lists_are_read_beside_the_schema() {
    let files =
        [("x.toml", "title = \"x\"\nschema = \"s.json\"\n"), ("s.json", WITH_LIST), ("practices.csv", "code\nN1\n")];
    let (dataset, _) = dataset_file(&folder(&files).path().join("x.toml")).unwrap();
    let schema = table(&dataset).schema.as_ref().unwrap();
    assert_eq!(schema.foreign_keys[0].codes.rows.iter().flatten().collect::<Vec<_>>(), ["N1"]);
    let names: Vec<&str> = dataset.contract.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["x.toml", "s.json", "practices.csv"]);
    let errors = |list: Option<&str>| {
        let mut files = files[..2].to_vec();
        files.extend(list.map(|text| ("practices.csv", text)));
        told(&dataset_file(&folder(&files).path().join("x.toml")).unwrap_err())
    };
    assert!(errors(None)[0].starts_with("s.json:2:67 there is no code list"), "{:?}", errors(None));
    assert!(errors(Some("kode\nN1\n"))[0].starts_with("practices.csv:1:1 the code list has no column"));
}

#[test]
fn a_faulty_schema_is_told_at_its_place() {
    let files = [
        ("x.toml", "title = \"x\"\nschema = \"s.json\"\n"),
        ("s.json", "{\n \"fields\": [{\"name\": \"a\", \"type\": \"dat\"}]}"),
    ];
    let errors = told(&dataset_file(&folder(&files).path().join("x.toml")).unwrap_err());
    assert!(errors.len() == 1 && errors[0].starts_with("s.json:2:"), "{errors:?}");
}

#[test]
fn the_contract_of_a_dataset_is_a_dataset_again() {
    let toml = "# remark\ntitle = \"x\"\nschema = \"../schemas/s.json\" # remark\n[rows]\nleast = 1\n";
    let files = [("datasets/x.toml", toml), ("schemas/s.json", WITH_LIST), ("schemas/practices.csv", "code\nN1\n")];
    let (dataset, _) = dataset_file(&folder(&files).path().join("datasets/x.toml")).unwrap();
    let flat: Vec<(&str, &str)> = dataset.contract.iter().map(|file| (file.name.as_str(), &*file.content)).collect();
    let (again, _) = dataset_file(&folder(&flat).path().join("x.toml")).unwrap();
    assert_eq!(format!("{:?}", again.rules), format!("{:?}", dataset.rules));
    assert_eq!(again.contract, dataset.contract);
    assert!(!flat[0].1.contains("remark"), "{}", flat[0].1);
}

const MAIN: &str = "[server]\nname = \"a.example\"\ncontact = \"x\"\nhost_keys = [\"k\"]\n[[server.listeners]]\naddress = \"127.0.0.1:0\"\n\
                    [paths]\nstate = \"state\"\nruntime = \"run\"\nkeys = \"keys\"\n[audit]\nkey = \"signing.key\"\n";

fn gateway(main: &str, dataset: &str, org: &str) -> Result<(Config, Vec<String>), Vec<String>> {
    let files = [
        ("nightsafe.toml", format!("{MAIN}{main}")),
        ("datasets/x.toml", format!("title = \"x\"\n{dataset}")),
        ("orgs/o.toml", format!("name = \"o\"\ndatasets = [\"x\"]\n{org}")),
        ("keys/o/recipients.txt", format!("{}\n", crate::seal::generate_identity().1)),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let folder = folder(&files);
    match load_with_warnings(&folder.path().join("nightsafe.toml")) {
        Ok(loaded) => {
            let warnings: Vec<Diagnostic> = loaded.warnings.into_iter().map(|warning| warning.0).collect();
            Ok((loaded.config, told(&warnings)))
        }
        Err((errors, _)) => Err(told(&errors)),
    }
}

#[test]
fn a_scan_is_required_where_a_scanner_is_configured_and_impossible_where_none_is() {
    let scan = "[scan]\nclamd = \"127.0.0.1:3310\"\n";
    let wanted = |config: &Config| config.datasets.values().next().unwrap().scan;
    assert!(wanted(&gateway(scan, "", "").unwrap().0));
    assert!(!wanted(&gateway(scan, "scan = \"off\"\n", "").unwrap().0));
    assert!(!wanted(&gateway("", "", "").unwrap().0));
    // What comes out of a packed file must not be more than clamd looks at.
    let unpacked = |config: &Config| config.datasets.values().next().unwrap().rules.unpack.size;
    let limits = "[limits]\nunpacked = \"1GiB\"\n";
    assert_eq!(unpacked(&gateway(scan, limits, "").unwrap().0), 25 << 20);
    assert_eq!(unpacked(&gateway(scan, &format!("scan = \"off\"\n{limits}"), "").unwrap().0), 1 << 30);

    let errors = gateway("", "scan = \"required\"\n", "").unwrap_err();
    assert!(errors.len() == 1 && errors[0].starts_with("x.toml:2:8 scan: no scanner is configured"), "{errors:?}");
    let (_, warnings) = gateway(scan, "max_size = \"1GiB\"\n", "").unwrap();
    assert!(warnings.len() == 1 && warnings[0].starts_with("x.toml:2:12 max_size is 1GiB"), "{warnings:?}");
    let errors = gateway("[scan]\nclamd = \"clamd\"\n", "scan = \"required\"\n", "").unwrap_err();
    assert!(errors.len() == 1 && errors[0].contains("is not where a scanner listens"), "{errors:?}");
    let errors = gateway("[scan]\n", "", "").unwrap_err();
    assert!(errors.len() == 1 && errors[0].contains("clamd is missing under [scan]"), "{errors:?}");
    let (_, warnings) = gateway("[scan]\nclamd = \"192.0.2.1:3310\"\n", "", "").unwrap();
    assert!(warnings.len() == 1 && warnings[0].contains("on another machine"), "{warnings:?}");
}

#[test]
fn codes_are_for_the_parts_of_names_that_there_are() {
    let name = "name = '(?P<agency>[A-Z]+)\\.csv'\n";
    let (config, warnings) = gateway("", name, "[codes]\nagency = [\"LIV\", \"MAN\"]\n").unwrap();
    assert_eq!(config.orgs.values().next().unwrap().codes["agency"].len(), 2);
    assert_eq!(warnings, [""; 0]);
    let (_, warnings) = gateway("", name, "[codes]\nagnecy = [\"LIV\"]\n").unwrap();
    assert!(
        warnings.len() == 1 && warnings[0].starts_with("o.toml:4:1 no dataset of this organisation"),
        "{warnings:?}"
    );
    let errors = gateway("", name, "[codes]\nagency = []\n").unwrap_err();
    assert!(errors.len() == 1 && errors[0].starts_with("o.toml:4:10 codes.agency: is empty"), "{errors:?}");
    let (config, _) = gateway("", "", "[retention]\nquarantined = \"2d\"\n").unwrap();
    assert_eq!(config.orgs.values().next().unwrap().retention.quarantined.as_secs(), 2 * 86_400);
}

#[test]
fn a_change_in_a_code_list_alone_is_another_configuration_and_a_comment_is_not() {
    let files = [
        ("nightsafe.toml", MAIN),
        ("datasets/x.toml", "title = \"x\"\nschema = \"../schemas/s.json\"\n"),
        ("schemas/s.json", WITH_LIST),
        ("schemas/practices.csv", "code\nN1\n"),
    ];
    let folder = folder(&files);
    let file = folder.path().join("nightsafe.toml");
    let read = || load_with_warnings(&file).unwrap();
    let first = read();
    assert!(first.says_the_same_as(&read()), "nothing changed");
    std::fs::write(
        folder.path().join("datasets/x.toml"),
        "# new\ntitle = \"x\" # new\nschema = \"../schemas/s.json\"\n",
    )
    .unwrap();
    assert!(first.says_the_same_as(&read()), "a comment");
    std::fs::write(folder.path().join("schemas/practices.csv"), "code\nN2\n").unwrap();
    assert!(!first.says_the_same_as(&read()), "a code");
    assert!(load(&file).is_ok());
}

/// The blocks of a language in docs/DATASETS.md.
fn blocks(language: &str) -> Vec<String> {
    let text = include_str!("../../../docs/DATASETS.md");
    let mut blocks = Vec::new();
    for part in text.split(&format!("```{language}\n")).skip(1) {
        blocks.push(part.split("```").next().unwrap().to_owned());
    }
    assert!(!blocks.is_empty());
    blocks
}

#[test]
fn the_examples_of_the_documents_work() {
    let schema = blocks("json").remove(0);
    let toml = blocks("toml");
    let own: Vec<&str> = toml[0].lines().take(4).collect();
    for block in &toml {
        let whole = if block.starts_with("title") { block.clone() } else { format!("{}\n{block}", own.join("\n")) };
        let folder = folder(&[("x.toml", &whole), ("visits.schema.json", &schema)]);
        let read = dataset_file(&folder.path().join("x.toml"));
        let (_, warnings) = read.unwrap_or_else(|errors| panic!("{whole}\n{:#?}", told(&errors)));
        assert_eq!(warnings, [], "{whole}");
    }
}

#[test]
fn the_documents_name_every_key_and_kind() {
    let text = include_str!("../../../docs/DATASETS.md");
    let sample = include_str!("../../cli/template/dataset.toml");
    let keys = sample.lines().filter_map(|line| line.trim_start_matches('#').split_once(" = ")).map(|(key, _)| key);
    for key in keys.filter(|key| !key.contains([' ', '"'])) {
        assert!(text.contains(&format!("`{key}`")) || text.contains(&format!(".{key}`")), "{key}");
    }
    for kind in crate::check::rules::Kind::NAMES {
        assert!(text.contains(&format!("| `{kind}` |")), "{kind}");
    }
}
