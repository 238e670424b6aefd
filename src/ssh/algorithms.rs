//! Which algorithms are offered to whom.
//!
//! Three sets: `strict` is AEAD ciphers and modern exchanges only, `standard` lets in what common clients of the last ten
//! years need, `legacy` a little more. Never offered: SHA-1 signatures (`ssh-rsa`), CBC, compression. The client's order
//! wins in the negotiation (RFC 4253, section 7.1): only what is left out steers it.

use std::borrow::Cow;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Preferred, cipher, compression, kex, mac};

use crate::config::AlgorithmSet;

/// Not exchanges but announcements: RFC 8308 extensions, and OpenSSH's strict exchange, which closes the Terrapin attack
/// (CVE-2023-48795). A list without them would switch both off.
const MARKERS: &[kex::Name] = &[
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

const STRICT_KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::DH_G18_SHA512,
    kex::DH_G16_SHA512,
];
const STANDARD_KEX: &[kex::Name] =
    &[kex::ECDH_SHA2_NISTP256, kex::ECDH_SHA2_NISTP384, kex::ECDH_SHA2_NISTP521, kex::DH_G14_SHA256];
/// SHA-1 as the hash of an exchange is old, not broken: an attack would need a second preimage while the client waits.
const LEGACY_KEX: &[kex::Name] = &[kex::DH_G14_SHA1];

const GCM: &[cipher::Name] = &[cipher::AES_256_GCM, cipher::AES_128_GCM];
const CTR: &[cipher::Name] = &[cipher::AES_256_CTR, cipher::AES_192_CTR, cipher::AES_128_CTR];

const ETM: &[mac::Name] = &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM];
const PLAIN_SHA2: &[mac::Name] = &[mac::HMAC_SHA512, mac::HMAC_SHA256];
const PLAIN_SHA1: &[mac::Name] = &[mac::HMAC_SHA1_ETM, mac::HMAC_SHA1];

/// Host keys, and the keys of accounts (`server-sig-algs`, RFC 8308), most preferred first.
const KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::SkEd25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::SkEcdsaSha2NistP256,
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// Whether an account may prove its key with a signature of this algorithm.
pub(super) fn accepts(algorithm: &Algorithm) -> bool {
    KEYS.contains(algorithm)
}

/// What a peer is offered. `openssh` says that it identified itself as OpenSSH: all of its versions since 2013 have
/// AES-GCM, which is twice as fast here as what their own order would pick, so they are offered nothing else.
pub(super) fn offer(set: AlgorithmSet, openssh: bool) -> Preferred {
    let gcm_only = set == AlgorithmSet::Strict || (set == AlgorithmSet::Standard && openssh);
    let standard = set != AlgorithmSet::Strict;
    let legacy = set == AlgorithmSet::Legacy;
    let none: &[_] = &[];
    Preferred {
        kex: [STRICT_KEX, if standard { STANDARD_KEX } else { &[] }, if legacy { LEGACY_KEX } else { &[] }, MARKERS]
            .concat()
            .into(),
        key: Cow::Borrowed(KEYS),
        host_key_certificates: Cow::Borrowed(none),
        cipher: [GCM, if gcm_only { &[] } else { CTR }].concat().into(),
        // GCM needs none of them, but some clients refuse an empty list.
        mac: [ETM, if gcm_only { &[] } else { PLAIN_SHA2 }, if legacy { PLAIN_SHA1 } else { &[] }].concat().into(),
        compression: Cow::Borrowed(&[compression::NONE]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETS: [AlgorithmSet; 3] = [AlgorithmSet::Strict, AlgorithmSet::Standard, AlgorithmSet::Legacy];

    fn names<N: AsRef<str>>(list: &[N]) -> Vec<&str> {
        list.iter().map(AsRef::as_ref).collect()
    }

    fn every_offer() -> impl Iterator<Item = Preferred> {
        SETS.into_iter().flat_map(|set| [offer(set, false), offer(set, true)])
    }

    #[test]
    fn every_offer_keeps_the_markers_of_extensions_and_strict_exchange() {
        for offer in every_offer() {
            let kex = names(&offer.kex);
            assert!(kex.contains(&"ext-info-s") && kex.contains(&"kex-strict-s-v00@openssh.com"), "{kex:?}");
            assert_eq!(kex[0], "mlkem768x25519-sha256");
        }
    }

    #[test]
    fn no_offer_has_sha1_signatures_compression_cbc_or_no_cipher() {
        for offer in every_offer() {
            assert_eq!(names(&offer.compression), ["none"]);
            assert!(!offer.key.contains(&Algorithm::Rsa { hash: None }) && !offer.key.contains(&Algorithm::Dsa));
            let (cipher, mac) = (names(&offer.cipher), names(&offer.mac));
            assert!(cipher.iter().all(|name| !name.contains("cbc") && *name != "none" && *name != "clear"));
            assert!(mac.iter().all(|name| *name != "none" && !name.contains("md5")));
        }
        assert!(!accepts(&Algorithm::Rsa { hash: None }));
        assert!(accepts(&Algorithm::SkEd25519));
    }

    #[test]
    fn strict_is_gcm_with_modern_exchanges_for_everyone() {
        for openssh in [false, true] {
            let offer = offer(AlgorithmSet::Strict, openssh);
            assert_eq!(names(&offer.cipher), ["aes256-gcm@openssh.com", "aes128-gcm@openssh.com"]);
            assert_eq!(names(&offer.mac), ["hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"]);
            let kex = names(&offer.kex);
            let exchanges: Vec<_> =
                kex.iter().filter(|name| !name.starts_with("ext-") && !name.contains("strict")).collect();
            assert_eq!(
                exchanges,
                [
                    &"mlkem768x25519-sha256",
                    &"curve25519-sha256",
                    &"curve25519-sha256@libssh.org",
                    &"diffie-hellman-group18-sha512",
                    &"diffie-hellman-group16-sha512"
                ]
            );
        }
    }

    #[test]
    fn standard_offers_openssh_gcm_only_and_others_ctr_with_sha2_too() {
        let openssh = offer(AlgorithmSet::Standard, true);
        assert_eq!(names(&openssh.cipher), ["aes256-gcm@openssh.com", "aes128-gcm@openssh.com"]);
        let other = offer(AlgorithmSet::Standard, false);
        assert_eq!(names(&other.cipher)[..2], names(&openssh.cipher)[..]);
        assert_eq!(names(&other.cipher)[2..], ["aes256-ctr", "aes192-ctr", "aes128-ctr"]);
        assert_eq!(
            names(&other.mac),
            ["hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512", "hmac-sha2-256"]
        );
        let kex = names(&other.kex);
        assert!(kex.contains(&"ecdh-sha2-nistp256") && kex.contains(&"diffie-hellman-group14-sha256"));
        assert!(!kex.iter().any(|name| name.ends_with("sha1")));
    }

    #[test]
    fn legacy_adds_sha1_exchange_and_macs_and_nothing_that_is_broken() {
        let legacy = offer(AlgorithmSet::Legacy, true);
        let kex = names(&legacy.kex);
        assert!(kex.contains(&"diffie-hellman-group14-sha1") && !kex.contains(&"diffie-hellman-group1-sha1"));
        assert!(names(&legacy.mac).contains(&"hmac-sha1") && names(&legacy.cipher).contains(&"aes128-ctr"));
    }
}
