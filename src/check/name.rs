//! The named parts of a file's name, and what an organisation's may be.
//!
//! Pure functions. Called by `intake` when an upload begins and when a draft gets its final name.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fault, Rules};

impl Rules {
    /// Whether the parts of a name are among the organisation's own codes; a part without codes is not compared.
    ///
    /// # Errors
    /// Names the part and what it may be.
    pub fn parts_agree(
        parts: &BTreeMap<String, String>,
        codes: &BTreeMap<String, BTreeSet<String>>,
    ) -> Result<(), Fault> {
        for (part, value) in parts {
            let Some(known) = codes.get(part).filter(|known| !known.contains(value)) else { continue };
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            return Err(Fault(format!(
                "the {part} in the file's name, {value:?}, is not one of your organisation's ({}): mend the name",
                known.join(", ")
            )));
        }
        Ok(())
    }
}
