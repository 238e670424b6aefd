//! The configuration of a test's gateway: two organisations that send, and a data team that loads.
//!
//! `harbour` and `meadow` may each send `interventions` (csv) and `bulk` (opaque); `harbour` alone has `outreach`. The
//! data team has `loader-all`, who may take everything, and `loader-harbour`, who may take only what harbour sent.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::keys;

/// What differs from the defaults; each text is TOML lines for one table of nightsafe.toml.
#[derive(Default)]
pub struct Setup {
    pub server: String,
    pub limits: String,
    pub intake: String,
    pub queue: String,
    /// The runtime directory is on a tmpfs, as in the field: unfinished uploads outlive the daemon. Else it is on the
    /// disk, and they do not.
    pub in_memory: bool,
    /// Words before the daemon's own command line.
    pub launcher: Vec<String>,
    pub environment: Vec<(String, String)>,
}

impl Setup {
    pub fn new() -> Self {
        Self::default()
    }
    pub fn server(mut self, toml: &str) -> Self {
        self.server = toml.to_owned();
        self
    }
    pub fn limits(mut self, toml: &str) -> Self {
        self.limits = toml.to_owned();
        self
    }
    pub fn intake(mut self, toml: &str) -> Self {
        self.intake = toml.to_owned();
        self
    }
    pub fn queue(mut self, toml: &str) -> Self {
        self.queue = toml.to_owned();
        self
    }
    pub fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }
    pub fn launcher(mut self, words: &[&str]) -> Self {
        self.launcher = words.iter().map(|&word| word.to_owned()).collect();
        self
    }
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes configuration and keys under `root`.
    pub fn write(&self, root: &Path, runtime: &Path) {
        for dir in ["config/orgs", "config/datasets", "keys/host", "tmp"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        let put = |file: &str, text: &str| std::fs::write(root.join(file), text).unwrap();
        put("config/nightsafe.toml", &self.nightsafe(runtime));
        put("config/orgs/harbour.toml", HARBOUR);
        put("config/orgs/meadow.toml", MEADOW);
        put("config/orgs/datateam.toml", DATATEAM);
        put("config/datasets/interventions.toml", "title = \"Interventions\"\nformat = \"csv\"\n");
        put("config/datasets/outreach.toml", "title = \"Outreach\"\nformat = \"csv\"\n");
        put("config/datasets/bulk.toml", "title = \"Anything\"\nformat = \"opaque\"\nmax_size = \"4GiB\"\n");

        let keys = keys();
        let line = |account: &str, key: &str| format!("account=\"{account}\" {}\n", keys.public(key));
        let provider = |org: &str, names: &[&str], recipients: &str| {
            std::fs::create_dir_all(root.join("keys").join(org)).unwrap();
            // A single account: its lines need not name it.
            let lines: String = names.iter().map(|name| keys.public(name) + "\n").collect();
            put(&format!("keys/{org}/authorized_keys"), &lines);
            put(&format!("keys/{org}/recipients.txt"), recipients);
        };
        let second = keys.public("age-over-ssh");
        let recipients = format!("# the data team\n{}\n# the escrow key\n{second}\n", keys.recipient("harbour"));
        provider("harbour", &["harbour", "harbour-spare", "harbour-ecdsa", "harbour-rsa"], &recipients);
        provider("meadow", &["meadow"], &(keys.recipient("meadow") + "\n"));
        std::fs::create_dir_all(root.join("keys/datateam")).unwrap();
        let loaders = line("loader-all", "loader-all") + &line("loader-harbour", "loader-harbour");
        put("keys/datateam/authorized_keys", &loaders);

        let host = root.join("keys/host/ssh_host_ed25519_key");
        std::fs::copy(keys.ssh("host"), &host).unwrap();
        std::fs::set_permissions(&host, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn nightsafe(&self, runtime: &Path) -> String {
        let Self { server, limits, intake, queue, .. } = self;
        let runtime = runtime.display();
        format!(
            r#"# A test's gateway.
[server]
name = "sftp.example.org"
contact = "Data team, data@example.org"
host_keys = ["../keys/host/ssh_host_ed25519_key"]
{server}
[[server.listeners]]
address = "127.0.0.1:0"
[limits]
{limits}
[paths]
state = "../state"
runtime = "{runtime}"
keys = "../keys"
[intake]
{intake}
[queue]
{queue}
[log]
format = "json"
level = "info"
"#
        )
    }
}

const HARBOUR: &str = r#"name = "Harbour Street Services"
datasets = ["interventions", "bulk", "outreach"]
default_dataset = "interventions"
[[accounts]]
name = "harbour-nightly"
"#;

const MEADOW: &str = r#"name = "Meadow Lane Practice"
datasets = ["interventions", "bulk"]
default_dataset = "interventions"
[[accounts]]
name = "meadow-nightly"
"#;

const DATATEAM: &str = r#"name = "Data team"
datasets = []
[[accounts]]
name = "loader-all"
role = "loader"
take = { orgs = ["*"], datasets = ["*"] }
[[accounts]]
name = "loader-harbour"
role = "loader"
take = { orgs = ["harbour"], datasets = ["*"] }
"#;
