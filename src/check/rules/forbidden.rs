//! Columns that must not be in an extract at all: data minimisation (UK GDPR, article 5(1)(c)), whatever the schema says.
//!
//! A label is compared as a whole, in lower case and without anything but letters and digits; words for whose name or
//! address it is ("Patient", "Client", "Next of Kin") may stand before. Staff and organisations are not meant ("GP Name",
//! "Provider Address" are let through), nor are NHS numbers, postcodes, initials and dates of birth, which agreements on
//! extracts do ask for: a dataset that may not have those names them itself.

use std::collections::BTreeMap;

use super::spec::{ForbiddenSet, ForbiddenSpec};

/// The labels that a dataset forbids, normalised, with the words for what each is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Forbidden {
    /// From the sets; the words for whom may stand before.
    of_a_person: BTreeMap<&'static str, &'static str>,
    /// As the dataset names them.
    named: BTreeMap<String, String>,
}

/// Whose it may be.
const WHOSE: [&str; 22] = [
    "patient",
    "pt",
    "client",
    "person",
    "persons",
    "serviceuser",
    "su",
    "subject",
    "individual",
    "participant",
    "resident",
    "child",
    "mother",
    "father",
    "parent",
    "guardian",
    "carer",
    "nextofkin",
    "nok",
    "emergency",
    "emergencycontact",
    "alternative",
];

const NAMES: &[&str] = &[
    "name",
    "names",
    "surname",
    "familyname",
    "lastname",
    "forename",
    "forenames",
    "firstforename",
    "secondforename",
    "firstname",
    "firstnames",
    "givenname",
    "givennames",
    "middlename",
    "middlenames",
    "fullname",
    "nameinfull",
    "knownas",
    "preferredname",
    "alias",
    "aliases",
    "maidenname",
    "birthname",
    "previousname",
    "previoussurname",
    "formername",
    "formersurname",
    "surnameatbirth",
    "othernames",
    "othername",
    "christianname",
    "nickname",
    "forenameandsurname",
    "surnameandforename",
    "firstandlastname",
    "titleandname",
    "nextofkin",
    "signature",
];

const ADDRESSES: &[&str] = &[
    "address",
    "addresses",
    "fulladdress",
    "homeaddress",
    "usualaddress",
    "residentialaddress",
    "postaladdress",
    "currentaddress",
    "previousaddress",
    "permanentaddress",
    "temporaryaddress",
    "correspondenceaddress",
    "mailingaddress",
    "addressline",
    "addressline1",
    "addressline2",
    "addressline3",
    "addressline4",
    "addressline5",
    "address1",
    "address2",
    "address3",
    "address4",
    "address5",
    "address6",
    "addr",
    "addr1",
    "addr2",
    "addr3",
    "addr4",
    "addr5",
    "addressandpostcode",
    "usualaddressline1",
    "usualaddressline2",
    "homeaddressline1",
    "homeaddressline2",
    "street",
    "streetname",
    "streetaddress",
    "streetnumber",
    "road",
    "roadname",
    "house",
    "housename",
    "housenumber",
    "houseno",
    "housenameornumber",
    "housenamenumber",
    "housenumberorname",
    "flat",
    "flatnumber",
    "flatno",
    "building",
    "buildingname",
    "buildingnumber",
    "uprn",
    "uniquepropertyreferencenumber",
];

const CONTACTS: &[&str] = &[
    "telephone",
    "telephonenumber",
    "telephoneno",
    "tel",
    "telno",
    "telnumber",
    "phone",
    "phonenumber",
    "phoneno",
    "telephone1",
    "telephone2",
    "phone1",
    "phone2",
    "hometelephone",
    "hometelephonenumber",
    "homephone",
    "homephonenumber",
    "worktelephone",
    "worktelephonenumber",
    "workphone",
    "workphonenumber",
    "daytimetelephone",
    "eveningtelephone",
    "landline",
    "landlinenumber",
    "mobile",
    "mobilenumber",
    "mobileno",
    "mobilephone",
    "mobilephonenumber",
    "mobiletelephone",
    "mobiletelephonenumber",
    "mob",
    "cellphone",
    "contactnumber",
    "contactno",
    "contacttelephone",
    "contacttelephonenumber",
    "contactphone",
    "contactdetails",
    "contactemail",
    "fax",
    "faxnumber",
    "email",
    "emails",
    "emailaddress",
    "email1",
    "email2",
    "homeemail",
    "workemail",
    "personalemail",
    "emergencycontact",
    "whatsapp",
    "skype",
];

const IDENTIFIERS: &[&str] = &[
    "nationalinsurance",
    "nationalinsurancenumber",
    "nationalinsuranceno",
    "natinsno",
    "natinsnumber",
    "ninumber",
    "nino",
    "passport",
    "passportnumber",
    "passportno",
    "drivinglicence",
    "drivinglicencenumber",
    "drivinglicenceno",
    "drivinglicense",
    "drivinglicensenumber",
    "driverslicence",
    "driverslicense",
    "drivernumber",
    "biometricresidencepermit",
    "brpnumber",
    "identitycardnumber",
    "idcardnumber",
    "taxreference",
    "utr",
    "uniquetaxpayerreference",
    "bankaccount",
    "bankaccountnumber",
    "banksortcode",
    "sortcode",
    "iban",
    "cardnumber",
    "vehicleregistration",
    "vehicleregistrationnumber",
    "ipaddress",
];

impl Forbidden {
    pub fn of(spec: &ForbiddenSpec) -> Self {
        let set = |set: &ForbiddenSet| match set {
            ForbiddenSet::Names => (NAMES, "a person's name"),
            ForbiddenSet::Addresses => (ADDRESSES, "an address"),
            ForbiddenSet::Contacts => (CONTACTS, "contact details"),
            ForbiddenSet::Identifiers => (IDENTIFIERS, "an official identifier"),
        };
        let of_a_person = spec.sets.iter().map(set);
        let of_a_person = of_a_person.flat_map(|(labels, what)| labels.iter().map(move |label| (*label, what)));
        let named = spec.labels.iter().map(|label| (normalised(label), format!("{label:?}")));
        Self { of_a_person: of_a_person.collect(), named: named.filter(|(label, _)| !label.is_empty()).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.of_a_person.is_empty() && self.named.is_empty()
    }

    /// What the label is, in words, when it is forbidden.
    pub fn what(&self, label: &str) -> Option<&str> {
        // The longest there is has far fewer bytes; a label may have a million.
        if self.is_empty() || label.len() > 1024 {
            return None;
        }
        let label = normalised(label);
        if let Some(named) = self.named.get(&label) {
            return Some(named);
        }
        let whose = WHOSE.iter().filter_map(|whose| label.strip_prefix(whose));
        std::iter::once(label.as_str()).chain(whose).find_map(|label| self.of_a_person.get(label).copied())
    }
}

/// Lower case, letters and digits only.
pub(super) fn normalised(label: &str) -> String {
    label.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Forbidden {
        Forbidden::of(&ForbiddenSpec { sets: ForbiddenSet::ALL.to_vec(), labels: vec!["G.P. Notes".into()] })
    }

    #[test]
    fn labels_that_say_who_a_person_is_are_found_however_they_are_written() {
        let expected = [
            ("Surname", "a person's name"),
            ("PATIENT_SURNAME", "a person's name"),
            ("clientName", "a person's name"),
            ("Next of Kin Name", "a person's name"),
            ("First  name:", "a person's name"),
            ("Address Line 1", "an address"),
            ("House No.", "an address"),
            ("Tel. No", "contact details"),
            ("E-Mail", "contact details"),
            ("Service User Mobile Number", "contact details"),
            ("N.I. Number", "an official identifier"),
            ("gp notes", "\"G.P. Notes\""),
        ];
        for (label, what) in expected {
            assert_eq!(all().what(label), Some(what), "{label}");
        }
    }

    #[test]
    fn labels_that_extracts_need_are_let_through() {
        let fine = [
            "NHS Number",
            "Postcode",
            "Client Initials",
            "Date of Birth",
            "GP Name",
            "Practice Address",
            "Drug Name",
            "Organisation Name",
            "Patient",
            "Client",
            "Child",
            "Contacts Offered",
            "Name of Drug",
            "",
            "--",
            "Nationality",
        ];
        for label in fine {
            assert_eq!(all().what(label), None, "{label}");
        }
        let names = Forbidden::of(&ForbiddenSpec { sets: vec![ForbiddenSet::Names], labels: vec![] });
        assert_eq!((names.what("Email"), names.what("Surname")), (None, Some("a person's name")));
        assert_eq!(Forbidden::default().what("Surname"), None);
    }

    #[test]
    fn the_lists_are_written_as_labels_are_compared() {
        for label in [&WHOSE[..], NAMES, ADDRESSES, CONTACTS, IDENTIFIERS].concat() {
            assert_eq!(normalised(label), label);
        }
    }
}
