//! What clients and scripts ask beside the transfer: digests, free space, what came of an upload; and the old scp.

use std::process::Command;

use nightsafe::audit::Verdict;

use super::programs::rclone::rclone;
use super::site::Site;
use crate::harness::{Client, Done, Gateway, PATIENCE, Setup, code, csv, fresh_dir, kind, run, string};

fn harbour(site: &Site) -> Client {
    site.gateway.harbour()
}

/// Puts `content` under `remote`, and a local copy into the site's directory.
fn put(site: &Site, content: &[u8], local: &str, remote: &str) {
    std::fs::write(site.path(local), content).unwrap();
    let name = |path: &str| format!("\"{}\"", path.replace('\\', "\\\\"));
    let batch = format!("put {} {}\n", name(site.path(local).to_str().unwrap()), name(remote));
    harbour(site).sftp(&batch).ok();
}

/// What the real program prints of a local file, its name replaced.
fn coreutils(site: &Site, program: &str, local: &str) -> String {
    let mut command = Command::new(program);
    command.arg(local).current_dir(site.path(""));
    run(command, b"", PATIENCE).ok().stdout
}

#[test]
fn digests_over_exec_are_those_of_coreutils() {
    let site = Site::new();
    for name in ["plain.bin", "with blank.bin", r"back\slash.bin", "Übergabe (März)'26.bin"] {
        put(&site, name.as_bytes(), name, &format!("/bulk/{name}"));
        for program in ["sha256sum", "sha1sum", "md5sum"] {
            let quoted = format!("'{}'", format!("/bulk/{name}").replace('\'', r"'\''"));
            let printed = harbour(&site).exec(&format!("{program} {quoted}")).ok().stdout;
            // The names differ by their directory alone.
            assert_eq!(printed.replace("/bulk/", ""), coreutils(&site, program, name), "{program} {name}");
        }
    }
    let empty = harbour(&site).exec("md5sum").ok().stdout;
    assert_eq!(empty, "d41d8cd98f00b204e9800998ecf8427e  -\n");
    let word = harbour(&site).exec("echo 'abc' | md5sum").ok().stdout;
    assert_eq!(word, "0bee89b07a248e27c83fc3d5951213c1  -\n");
    let several = harbour(&site).exec("sha256sum -- bulk/plain.bin bulk/none.bin bulk").exits(1);
    assert_eq!(several.stdout.lines().count(), 1);
    assert!(several.stderr.contains("sha256sum: bulk/none.bin: No such file or directory"), "{several:?}");
    assert!(several.stderr.contains("sha256sum: bulk: Is a directory"), "{several:?}");
    for (line, words) in
        [("sha256sum -c x", "unrecognized option -c"), ("md5sum *.bin", "no shell"), ("md5sum 'a", "not closed")]
    {
        assert!(harbour(&site).exec(line).exits(1).stderr.contains(words), "{line}");
    }
    // What waits for its rename: rclone compares before it renames.
    put(&site, b"working", "working.bin", "/bulk/working.bin.part");
    let draft = harbour(&site).exec("md5sum /bulk/working.bin.part").ok().stdout;
    assert_eq!(draft.replace("/bulk/", "").replace(".part", ""), coreutils(&site, "md5sum", "working.bin"));
    harbour(&site).sftp("rm /bulk/working.bin.part\n").ok();
    // A newer file of the name: its digest, and no longer the old one.
    put(&site, b"newer", "plain.bin", "/bulk/plain.bin");
    let newer = harbour(&site).exec("sha256sum /bulk/plain.bin").ok().stdout;
    assert_eq!(newer.replace("/bulk/", ""), coreutils(&site, "sha256sum", "plain.bin"));
}

#[test]
fn digests_are_offered_as_the_organisation_says_and_of_its_own_files_alone() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), b"some bytes", "/bulk/a.bin");
    gateway.harbour().exec("sha256sum /bulk/a.bin").ok();
    for program in ["sha1sum", "md5sum"] {
        let refused = gateway.harbour().exec(&format!("{program} /bulk/a.bin")).exits(1);
        assert!(refused.stderr.contains("not offered to your organisation: use SHA-256"), "{refused:?}");
    }
    let stranger = gateway.meadow().exec("sha256sum /bulk/a.bin").exits(1);
    assert!(stranger.stderr.contains("No such file"), "{stranger:?}");
    let loader = gateway.loader().exec("sha256sum /bulk/a.bin").exits(1);
    assert!(loader.stderr.contains("claim, extend, ack and nack"), "{loader:?}");

    // What was accepted before SHA-1 was asked for has none, and says so.
    gateway.edit("config/orgs/harbour.toml", "[[accounts]]", "digests = [\"sha256\", \"sha1\"]\n[[accounts]]");
    let late = crate::harness::eventually("the new configuration", || {
        let done = gateway.harbour().exec("sha1sum /bulk/a.bin");
        done.stderr.contains("was not recorded").then_some(done)
    });
    assert_eq!(late.code(), Some(1));
    gateway.put(&gateway.harbour(), b"some bytes", "/bulk/b.bin");
    gateway.harbour().exec("sha1sum /bulk/b.bin").ok();
}

#[test]
fn rclone_compares_digests_by_itself() {
    let site = Site::new();
    let folder = site.path("folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a b.bin"), csv(5000, 1)).unwrap();
    std::fs::write(folder.join("c'd.bin"), csv(70_000, 2)).unwrap();
    let folder = folder.to_str().unwrap();
    let copied = rclone(&site.way(), &["-vv", "copy", folder, "gateway:bulk"]);
    assert!(copied.ok && copied.words.matches("md5 = ").count() == 2, "{}", copied.words);
    let checked = rclone(&site.way(), &["check", folder, "gateway:bulk"]);
    assert!(checked.ok && checked.words.contains("0 differences"), "{}", checked.words);
    // The same size and other bytes.
    std::fs::write(site.path("folder/a b.bin"), csv(5000, 3)).unwrap();
    let checked = rclone(&site.way(), &["check", folder, "gateway:bulk"]);
    assert!(!checked.ok && checked.words.contains("md5 differ"), "{}", checked.words);
}

/// `check-file-name` with a list of algorithms, for the whole file unless the numbers say otherwise.
fn check_file(site: &Site, name: &[u8], path: &str, list: &str, numbers: (u64, u64, u32)) -> crate::harness::Reply {
    let (start, length, block) = numbers;
    let body = [
        &string(name)[..],
        &string(path.as_bytes()),
        &string(list.as_bytes()),
        &start.to_be_bytes(),
        &length.to_be_bytes(),
        &block.to_be_bytes(),
    ]
    .concat();
    site.raw(site.gateway.port()).request(kind::EXTENDED, &body)
}

#[test]
fn check_file_answers_from_what_was_recorded() {
    let site = Site::new();
    let content = csv(10_000, 5);
    put(&site, &content, "a.bin", "/bulk/a.bin");
    let sha256 = ring::digest::digest(&ring::digest::SHA256, &content);
    let sha1 = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &content);
    let named = |list: &str, numbers| check_file(&site, b"check-file-name", "/bulk/a.bin", list, numbers);
    for (list, numbers, used, digest) in [
        ("sha256", (0, 0, 0), "sha256", sha256.as_ref()),
        ("crc32,sha1,sha256", (0, 0, 0), "sha1", sha1.as_ref()),
        ("sha512,sha256", (0, 10_000, 10_000), "sha256", sha256.as_ref()),
        ("sha256", (0, 99_999, 65_536), "sha256", sha256.as_ref()),
    ] {
        let reply = named(list, numbers);
        assert_eq!(reply.kind, kind::EXTENDED_REPLY, "{list} {numbers:?}: {reply:?}");
        assert_eq!(reply.body, [&string(used.as_bytes())[..], digest].concat(), "{list} {numbers:?}");
    }
    for (list, numbers, words) in [
        ("sha256", (1, 0, 0), "only the digest of the whole file"),
        ("sha256", (0, 9_999, 0), "only the digest of the whole file"),
        ("sha256", (0, 0, 4096), "only the digest of the whole file"),
        ("sha256", (0, 0, 255), "256 bytes or more"),
        ("crc32,sha512", (0, 0, 0), "use sha256"),
    ] {
        let status = named(list, numbers).status();
        assert!(status.code != code::OK && status.message.contains(words), "{list} {numbers:?}: {status:?}");
    }
    let missing = check_file(&site, b"check-file-name", "/bulk/none.bin", "sha256", (0, 0, 0)).status();
    assert_eq!(missing.code, 2, "{missing:?}");
    let directory = check_file(&site, b"check-file-name", "/bulk", "sha256", (0, 0, 0)).status();
    assert!(directory.message.contains("directory"), "{directory:?}");
}

/// paramiko asks by handle, of a file that can be read: a receipt.
#[test]
fn paramiko_checks_what_it_reads() {
    let site = Site::new();
    let program = "import sys, hashlib, paramiko\n\
        port, key, known_hosts = sys.argv[1:]\n\
        client = paramiko.SSHClient()\n\
        client.load_host_keys(known_hosts)\n\
        client.connect('127.0.0.1', int(port), 'harbour-nightly', key_filename=key, allow_agent=False, look_for_keys=False)\n\
        sftp = client.open_sftp()\n\
        with sftp.open('/help.txt') as file:\n    \
            digest = file.check('sha256')\n    \
            assert digest == hashlib.sha256(file.read()).digest(), digest\n\
        client.close()\n";
    let way = site.way();
    let mut command = way.command("/usr/bin/python3");
    command.args(["-c", program, &way.port.to_string()]).arg(site.path("key")).arg(site.known_hosts());
    let did = way.run(command, "");
    assert!(did.ok, "{}", did.words);
}

#[test]
fn status_and_receipt_tell_scripts_what_came_of_uploads() {
    let gateway = Gateway::start(Setup::new());
    let client = gateway.harbour();
    assert_eq!(client.exec("status").ok().stdout, "no uploads\n");
    assert_eq!(client.exec("status --json").ok().stdout, "");
    gateway.put(&client, &csv(500, 1), "/interventions/a.csv");
    let dir = fresh_dir("status");
    let ragged = dir.path().join("ragged.csv");
    std::fs::write(&ragged, "id,visits\n1,2\n3\n").unwrap();
    client.sftp(&format!("put {} /interventions/\n", ragged.display())).fails();
    gateway.put(&gateway.meadow(), b"of another", "/bulk/other.bin");
    gateway.put(&client, b"draft", "/bulk/later.bin.part");

    let text = client.exec("status").ok().stdout;
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains("  accepted  ") && lines[0].ends_with("/interventions/a.csv"), "{text}");
    assert!(lines[1].contains("  rejected  ") && lines[2].starts_with("    row 3, "), "{text}");
    assert!(lines[3].contains("  unfinished  ") && lines[3].ends_with("/bulk/later.bin.part"), "{text}");
    assert!(!text.contains("other.bin") && lines.len() == 4, "{text}");
    let states = |done: Done| done.json_lines().iter().map(|line| line["state"].clone()).collect::<Vec<_>>();
    assert_eq!(states(client.exec("status --json").ok()), ["accepted", "rejected", "unfinished"]);
    assert_eq!(states(client.exec("status -n 1 --json").ok()), ["rejected", "unfinished"]);
    client.exec("status -n 0").exits(2);

    gateway.put(&client, b"one more", "/bulk/more.bin");
    let uploads = gateway.uploads();
    let of = |name: &str| uploads.iter().find(|row| row.receipt.name.as_str() == name).unwrap().receipt.clone();
    let (accepted, rejected, others) = (of("a.csv"), of("ragged.csv"), of("other.bin"));
    assert_eq!(accepted.verdict, Verdict::Accepted);
    let id = accepted.upload.to_string();
    assert_eq!(client.exec(&format!("receipt {id}")).ok().stdout, accepted.text());
    assert_eq!(client.exec(&format!("receipt --json {id}")).ok().stdout, accepted.json());
    assert_eq!(client.exec(&format!("receipt {}", &id[..35])).ok().stdout, accepted.text());
    assert_eq!(client.exec(&format!("receipt {}", rejected.upload)).ok().stdout, rejected.text());
    // The ids of one minute begin alike: of three made in a moment two do, even when a minute ends between them.
    let beginning = |name: &str| of(name).upload.to_string()[..8].to_owned();
    let (first, second, third) = (beginning("a.csv"), beginning("ragged.csv"), beginning("more.bin"));
    let shared = if first == second { first } else { third };
    let several = client.exec(&format!("receipt {shared}"));
    assert!(several.code() == Some(1) && several.stderr.contains("more than one"), "{several:?}");
    let foreign = client.exec(&format!("receipt {}", others.upload)).exits(1);
    assert!(foreign.stderr.contains("no upload"), "{foreign:?}");
    client.exec("receipt").exits(2);
    assert!(client.exec("help").ok().stdout.contains("receipt ID"));
    client.sftp("rm /bulk/later.bin.part\n").ok();
}

#[test]
fn the_old_scp_is_refused_in_words_that_it_shows() {
    let site = Site::new();
    std::fs::write(site.path("a.bin"), "a").unwrap();
    let way = site.way();
    let mut old = way.command("scp");
    old.args(["-O", "-F"]).arg(site.path("ssh_config")).args([
        "-P",
        &way.port.to_string(),
        "a.bin",
        "127.0.0.1:/bulk/",
    ]);
    let mut putty = way.command("pscp");
    putty.args(["-scp", "-batch", "-P", &way.port.to_string(), "-i", "key.ppk"]);
    for fingerprint in site.fingerprints() {
        putty.args(["-hostkey", &fingerprint]);
    }
    putty.args(["a.bin", "harbour-nightly@127.0.0.1:/bulk/"]);
    for command in [old, putty] {
        let did = way.run(command, "");
        assert!(!did.ok && did.words.matches("without the old scp protocol").count() == 1, "{}", did.words);
    }
    assert!(site.uploads("/bulk/a.bin").is_empty());
}

/// What jobs do around an upload, in one session: a probe file, directories that are there, free space, modes and owners.
#[test]
fn habits_of_clients_around_an_upload_are_met() {
    let site = Site::new();
    let file = site.path("a.bin");
    std::fs::write(&file, csv(1000, 1)).unwrap();
    let batch = format!(
        "pwd\nls\ndf\ndf -h /bulk\n-mkdir /bulk\n-mkdir bulk\ncd bulk\nput {0} probe.part\nls -l\nrm probe.part\n\
         put {0} a.bin\nchmod 644 a.bin\nchown 1000 a.bin\nchgrp 1000 a.bin\nls -ln a.bin\n-symlink a.bin b.bin\n",
        file.display()
    );
    let done = harbour(&site).sftp(&batch).ok();
    assert!(done.stdout.contains("Remote working directory: /") && done.stdout.contains("help.txt"), "{done:?}");
    assert!(done.words().contains("the directory exists already"), "{done:?}");
    assert!(done.words().contains("there are no links here"), "{done:?}");
    let about = rclone(&site.way(), &["about", "gateway:"]);
    assert!(about.ok && about.words.contains("Total:   20 GiB"), "{}", about.words);
    for directory in ["gateway:bulk", "gateway:/", "gateway:interventions"] {
        let made = rclone(&site.way(), &["mkdir", directory]);
        assert!(made.ok, "{directory}: {}", made.words);
    }
}
