//! From what a dataset's TOML says to rules that rows can be judged by, or to everything that is wrong with it.
//!
//! A rule that could never be obeyed or never be broken is a mistake, and is said here rather than found out later.

use regex::Regex;

use super::compiled::{Compiled, Condition, Restriction, Rule, Shape, Test};
use super::decimal::Decimal;
use super::forbidden::{Forbidden, normalised};
use super::spec::{ForbiddenSpec, Kind, Place, RowsSpec, RuleFault, Spec, Specs};
use crate::check::Severity;
use crate::check::schema::Value;

/// What a rule can do with a field's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Integer,
    Number,
    /// Dates, datetimes, years and yearmonths.
    Date,
    Time,
    /// Anything else: booleans, lists, objects.
    Other,
}

/// A field as rules see it.
pub(super) struct Column<'s> {
    pub name: &'s str,
    pub kind: Type,
    pub judge: Judge<'s>,
}

/// What a text means to a field, and whether the field takes it.
pub(super) type Judge<'s> = Box<dyn Fn(&str) -> (Value, bool) + 's>;

/// What `specs` come to. `columns` is none without a schema; `parts` are the named parts of the file's name.
pub(super) fn compile(
    specs: &Specs,
    columns: Option<&[Column<'_>]>,
    parts: &[&str],
) -> Result<Compiled, Vec<RuleFault>> {
    let mut faults = Vec::new();
    let mut compiled = Compiled {
        fields: columns.unwrap_or_default().iter().map(|column| column.name.to_owned()).collect(),
        ..Compiled::default()
    };
    match columns {
        Some(columns) => {
            for (index, spec) in specs.rules.iter().enumerate() {
                let reader = Reader { columns, parts, place: Place::Rule(index) };
                match reader.rule(spec, &mut compiled) {
                    Ok(()) => {}
                    Err(fault) => faults.push(fault),
                }
            }
            let reader = Reader { columns, parts, place: Place::Totals };
            match reader.fields(&specs.totals, &[Type::Integer, Type::Number], "a number") {
                Ok(fields) => compiled.totals = fields,
                Err(fault) => faults.push(fault),
            }
        }
        None => faults.extend(without_schema(specs)),
    }
    compiled.rows = specs.rows;
    faults.extend(rows_fault(&specs.rows));
    compiled.forbidden = Forbidden::of(&specs.forbidden);
    compiled.forbidden_spec = specs.forbidden.clone();
    faults.extend(forbidden_faults(&specs.forbidden, &compiled));
    if faults.is_empty() { Ok(compiled) } else { Err(faults) }
}

/// The names of a pattern's groups.
pub(super) fn parts_of(pattern: Option<&Regex>) -> Vec<&str> {
    pattern.map(|pattern| pattern.capture_names().flatten().collect()).unwrap_or_default()
}

fn without_schema(specs: &Specs) -> Vec<RuleFault> {
    let fault =
        |place| fault(place, "the dataset has no schema, so there are no columns to name", "give the dataset a schema");
    let mut faults: Vec<RuleFault> = (0..specs.rules.len()).map(|index| fault(Place::Rule(index))).collect();
    if !specs.totals.is_empty() {
        faults.push(fault(Place::Totals));
    }
    faults
}

fn rows_fault(rows: &RowsSpec) -> Option<RuleFault> {
    let wrong = |message: &str, help: &str| Some(fault(Place::Rows, message, help));
    match (rows.least, rows.most) {
        (Some(least), Some(most)) if least > most => {
            return wrong("least is more than most: no file could have so many rows", "swap them, or mend one");
        }
        _ => {}
    }
    let change = rows.change?;
    match (change.less, change.more) {
        (None, None) => wrong("change says neither less nor more", "add less = \"50%\", more = \"200%\" or both"),
        (Some(less), _) if less > 100 => {
            wrong("change.less is more than 100%: as many rows as last time would be too few", "say less = \"50%\"")
        }
        (_, Some(more)) if more < 100 => {
            wrong("change.more is less than 100%: as many rows as last time would be too many", "say more = \"200%\"")
        }
        _ => None,
    }
}

fn forbidden_faults(spec: &ForbiddenSpec, compiled: &Compiled) -> Vec<RuleFault> {
    let empty = spec.labels.iter().filter(|label| normalised(label).is_empty()).map(|label| {
        fault(Place::Forbidden, &format!("{label:?} has no letters or digits to compare"), "name the column's label")
    });
    let declared = compiled.fields.iter().filter_map(|field| {
        let what = compiled.forbidden.what(field)?;
        Some(fault(
            Place::Forbidden,
            &format!("the schema's field {field:?} is forbidden here ({what})"),
            "take it out of the schema, or name the forbidden labels one by one instead of its set",
        ))
    });
    empty.chain(declared).collect()
}

/// Reads one entry.
struct Reader<'a> {
    columns: &'a [Column<'a>],
    parts: &'a [&'a str],
    place: Place,
}

const DATES: [Type; 1] = [Type::Date];

impl Reader<'_> {
    fn rule(&self, spec: &Spec, into: &mut Compiled) -> Result<(), RuleFault> {
        let test = match &spec.kind {
            Kind::AnyPresent { columns } => {
                let columns = self.some(self.any_fields(columns)?)?;
                let joined = self.joined(&columns);
                Test::AnyPresent { columns, joined }
            }
            Kind::NhsNumber { columns } => {
                let columns = self.some(self.fields(columns, &[Type::Text, Type::Integer], "text")?)?;
                Test::Shape { shape: Shape::NhsNumber, columns }
            }
            Kind::NhsNumberOrLocal { columns } => {
                let columns = self.some(self.fields(columns, &[Type::Text], "text")?)?;
                Test::Shape { shape: Shape::NhsNumberOrLocal, columns }
            }
            Kind::UkPostcode { columns } => {
                let columns = self.some(self.fields(columns, &[Type::Text], "text")?)?;
                Test::Shape { shape: Shape::UkPostcode, columns }
            }
            Kind::OdsCode { columns } => {
                let columns = self.some(self.fields(columns, &[Type::Text], "text")?)?;
                Test::Shape { shape: Shape::OdsCode, columns }
            }
            Kind::NotInFuture { columns } => {
                Test::NotInFuture { columns: self.some(self.fields(columns, &DATES, "a date")?)? }
            }
            Kind::InOrder { columns } => {
                let times = !columns.is_empty() && columns.iter().all(|name| self.kind_of(name) == Some(Type::Time));
                let wanted = if times { [Type::Time] } else { DATES };
                let columns = self.fields(columns, &wanted, "a date")?;
                if columns.len() < 2 {
                    return Err(
                        self.fault("there is nothing to compare with fewer than two columns", "name two or more")
                    );
                }
                Test::InOrder { columns }
            }
            Kind::WithinPeriod { columns, part } => {
                let columns = self.some(self.fields(columns, &DATES, "a date")?)?;
                Test::WithinPeriod { columns, part: self.part(part)? }
            }
            Kind::SameAsName { column, part } => {
                Test::SameAsName { column: self.field(column)?, part: self.part(part)? }
            }
            Kind::Product { column, factors, tolerance } => self.product(column, factors, tolerance)?,
            Kind::Consent { column, given } => {
                into.restrictions.push(self.consent(column, given)?);
                return Ok(());
            }
            Kind::Objection { when, partial } => {
                into.restrictions.push(self.objection(when, *partial, spec.label.clone())?);
                return Ok(());
            }
        };
        if spec.verdict != Severity::Accept {
            let (name, label) = (spec.kind.name(), spec.label.clone());
            into.rules.push(Rule { name, verdict: spec.verdict, label, test });
        }
        Ok(())
    }

    fn product(&self, column: &str, factors: &[String], tolerance: &str) -> Result<Test, RuleFault> {
        let numbers = [Type::Integer, Type::Number];
        let column = self.typed(column, &numbers, "a number")?;
        // The same factor twice is a square, and fine.
        let factors = factors.iter().map(|name| self.typed(name, &numbers, "a number"));
        let factors = self.some(factors.collect::<Result<Vec<_>, _>>()?)?;
        if factors.contains(&column) {
            return Err(self.fault("the product is one of its own factors", "name other factors"));
        }
        let tolerance = match tolerance {
            "" => Decimal::default(),
            text => Decimal::parse(text).ok_or_else(|| {
                self.fault(&format!("tolerance {text:?} is no plain decimal"), "write it like tolerance = \"0.01\"")
            })?,
        };
        Ok(Test::Product { column, factors, tolerance })
    }

    fn consent(&self, name: &str, given: &[String]) -> Result<Restriction, RuleFault> {
        let column = self.field(name)?;
        if given.is_empty() {
            return Err(self.fault("given is empty: every row would be restricted", "say given = [\"Y\"]"));
        }
        for text in given {
            match (self.columns[column].judge)(text) {
                (Value::Missing, _) => {
                    return Err(self.fault(
                        &format!("{text:?} means that {name:?} is missing, which is never consent"),
                        "name the values that mean yes",
                    ));
                }
                (_, false) => return Err(self.never(text, name)),
                _ => {}
            }
        }
        Ok(Restriction::Consent { column, given: given.to_vec() })
    }

    fn objection(
        &self,
        when: &[(String, String)],
        partial: Severity,
        label: Option<String>,
    ) -> Result<Restriction, RuleFault> {
        let names: Vec<String> = when.iter().map(|(name, _)| name.clone()).collect();
        let columns = self.some(self.any_fields(&names)?)?;
        let joined = self.joined(&columns);
        let conditions =
            columns.into_iter().zip(when).map(|(column, (name, text))| match (self.columns[column].judge)(text) {
                (_, false) => Err(self.never(text, name)),
                (value, true) => Ok(Condition { column, text: text.trim().to_owned(), value }),
            });
        Ok(Restriction::Objection { when: conditions.collect::<Result<_, _>>()?, joined, partial, label })
    }

    fn never(&self, text: &str, name: &str) -> RuleFault {
        self.fault(
            &format!("{text:?} is nothing that the schema lets {name:?} be, so the rule could never apply"),
            "write it as it stands in the file, or mend the schema",
        )
    }

    fn any_fields(&self, names: &[String]) -> Result<Vec<usize>, RuleFault> {
        let fields: Vec<usize> = names.iter().map(|name| self.field(name)).collect::<Result<_, _>>()?;
        match fields.iter().enumerate().find(|(at, field)| fields[..*at].contains(field)) {
            None => Ok(fields),
            Some((_, twice)) => {
                Err(self.fault(&format!("{:?} is named twice", self.columns[*twice].name), "name each column once"))
            }
        }
    }

    /// Different fields, each of one of the types.
    fn fields(&self, names: &[String], types: &[Type], wanted: &str) -> Result<Vec<usize>, RuleFault> {
        let fields = self.any_fields(names)?;
        names.iter().try_for_each(|name| self.typed(name, types, wanted).map(drop))?;
        Ok(fields)
    }

    fn typed(&self, name: &str, types: &[Type], wanted: &str) -> Result<usize, RuleFault> {
        let field = self.field(name)?;
        if types.contains(&self.columns[field].kind) {
            return Ok(field);
        }
        Err(self.fault(
            &format!("the schema's field {name:?} is not {wanted}"),
            "take another column, or give the field that type in the schema",
        ))
    }

    fn field(&self, name: &str) -> Result<usize, RuleFault> {
        self.columns.iter().position(|column| column.name == name).ok_or_else(|| {
            let help = nearest(name, self.columns.iter().map(|column| column.name));
            self.fault(&format!("{name:?} is no field of the schema"), &help)
        })
    }

    fn kind_of(&self, name: &str) -> Option<Type> {
        self.columns.iter().find(|column| column.name == name).map(|column| column.kind)
    }

    fn part(&self, part: &str) -> Result<String, RuleFault> {
        if self.parts.contains(&part) {
            return Ok(part.to_owned());
        }
        let help = match self.parts {
            [] => format!("name the part in the pattern: name = '(?P<{part}>...)...'"),
            parts => nearest(part, parts.iter().copied()),
        };
        Err(self.fault(&format!("the name pattern has no part {part:?}"), &help))
    }

    fn some(&self, columns: Vec<usize>) -> Result<Vec<usize>, RuleFault> {
        match columns[..] {
            [] => Err(self.fault("it names no columns", "name at least one column")),
            _ => Ok(columns),
        }
    }

    fn joined(&self, columns: &[usize]) -> String {
        columns.iter().map(|column| self.columns[*column].name).collect::<Vec<_>>().join("+")
    }

    fn fault(&self, message: &str, help: &str) -> RuleFault {
        fault(self.place, message, help)
    }
}

fn fault(place: Place, message: &str, help: &str) -> RuleFault {
    RuleFault { place, message: message.to_owned(), help: help.to_owned() }
}

/// The known word that was probably meant; nothing when there is none.
fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let lower = wrong.to_lowercase();
    let distance = |word: &str| strsim::damerau_levenshtein(&lower, &word.to_lowercase());
    match known.map(|word| (distance(word), word)).min() {
        // A third of the word wrong is a slip; more is another word.
        Some((distance, word)) if distance <= (wrong.chars().count().max(word.chars().count()) / 3).max(1) => {
            format!("did you mean {word:?}?")
        }
        _ => "use a field's name as the schema has it".to_owned(),
    }
}

#[cfg(test)]
mod tests;
