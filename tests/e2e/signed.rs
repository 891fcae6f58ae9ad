//! The world outside under DNSSEC: a root, `test.` and zones below it, all served by one Knot DNS, and a mail server
//! for each at a loopback address of its own.
//!
//! Knot signs the zones once and ends. Then what is to be wrong is made wrong in its files, signatures made to last
//! two seconds run out, and Knot serves the files as they are.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData};
use sha2::{Digest, Sha256};

use crate::harness::{TempDir, eventually, free_port};

pub const TOOLS: [&str; 3] = ["python3", "knotd", "keymgr"];

/// A process of the test's own, ended with it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a destination's server shows.
#[derive(Clone, Copy, PartialEq)]
pub enum Server {
    /// A self-signed certificate that no name and no root makes valid.
    Own,
    /// A certificate for `mx.anchor.test` and `mx.trusted.test` from an authority that shows its own beside it.
    Chain,
    /// It does not offer STARTTLS.
    Plain,
    /// None of its own: its name is an alias of `mx.good.test`.
    Alias,
}

/// What a TLSA record says.
#[derive(Clone, Copy)]
pub enum Tlsa {
    /// 3 1 1 with the key of [`Server::Own`].
    Own,
    /// 3 1 1 with a key that nobody has.
    Other,
    /// 2 1 1 with the key of the authority.
    Authority,
    /// 1 1 1, which is not used for mail.
    Unusable,
    /// [`Tlsa::Own`], at a name to which a wildcard leads.
    Wildcard,
}

/// How the zone is signed.
#[derive(Clone, Copy, PartialEq)]
pub enum Zone {
    Nsec,
    Nsec3,
    /// With NSEC3 of 2,500 iterations.
    Iterations,
    /// Not at all, as its parent says.
    Unsigned,
    /// Its signatures have run out.
    Expired,
    /// Its parent names a key that it does not have.
    WrongDs,
    /// Its TLSA record was changed after it was signed.
    Changed,
}

pub struct Destination {
    pub name: &'static str,
    pub server: Server,
    pub tlsa: &'static [Tlsa],
    pub zone: Zone,
}

pub struct World {
    dir: TempDir,
    pub dns_port: u16,
    pub smtp_port: u16,
    addresses: BTreeMap<&'static str, String>,
    _processes: Vec<Process>,
}

impl World {
    pub fn new(destinations: &[Destination]) -> World {
        World::made(destinations, true)
    }

    /// The same names under a root that nobody signed, as a name server shows it that leaves signatures out.
    pub fn without_signatures(destinations: &[Destination]) -> World {
        World::made(destinations, false)
    }

    fn made(destinations: &[Destination], signed: bool) -> World {
        let dir = TempDir::new();
        let (dns_port, smtp_port) = (free_port(), free_port());
        let addresses: BTreeMap<&str, String> = destinations
            .iter()
            .enumerate()
            .filter(|(_, d)| d.server != Server::Alias)
            .map(|(n, d)| (d.name, format!("127.0.2.{}", n + 1)))
            .collect();
        let keys = certificates(&dir.0);
        let hosts = dir.0.join("hosts");
        fs::create_dir_all(&hosts).expect("a directory");
        fs::create_dir_all(dir.0.join("keys")).expect("a directory");
        let mut rows = String::new();
        for d in destinations.iter().filter(|d| d.server != Server::Alias) {
            let files = match d.server {
                Server::Own => format!("{0}/own.pem {0}/own.key", dir.0.display()),
                Server::Chain => format!("{0}/chain.pem {0}/chain.key", dir.0.display()),
                Server::Plain | Server::Alias => String::new(),
            };
            let _ = writeln!(rows, "{} {files}", addresses[d.name]);
        }
        fs::write(hosts.join("hosts"), rows).expect("written");
        let mut world = World { dir, dns_port, smtp_port, addresses, _processes: Vec::new() };
        world.write_zones(destinations, &keys, signed);
        let knot = world.serve(&world.configure("served", |_| None));
        let servers = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/e2e/py/tls_hosts.py"))
            .arg(smtp_port.to_string())
            .arg(&hosts)
            .stdout(Stdio::null())
            .spawn()
            .expect("the mail servers start");
        world._processes = vec![knot, Process(servers)];
        for address in world.addresses.values() {
            eventually(Duration::from_secs(20), "the mail servers listen", || {
                std::net::TcpStream::connect((address.as_str(), smtp_port)).is_ok()
            });
        }
        world
    }

    pub fn trust_anchor(&self) -> PathBuf {
        self.dir.0.join("anchor")
    }

    /// The authority of [`Server::Chain`].
    pub fn roots(&self) -> PathBuf {
        self.dir.0.join("root.pem")
    }

    /// The file that makes every server offer REQUIRETLS.
    pub fn offers_requiretls(&self) -> PathBuf {
        self.dir.0.join("hosts/requiretls")
    }

    /// What the server of a destination was told, in order; forgotten afterwards.
    pub fn heard(&self, name: &str) -> String {
        let file = self.dir.0.join("hosts").join(&self.addresses[name]);
        let heard = fs::read_to_string(&file).unwrap_or_default();
        let _ = fs::remove_file(&file);
        heard
    }

    fn zone_file(&self, zone: &str) -> PathBuf {
        let zone = zone.trim_end_matches('.');
        self.dir.0.join(format!("{}.zone", if zone.is_empty() { "root" } else { zone }))
    }

    /// A configuration in which each zone of the directory is signed as `policy` says, if at all.
    fn configure(&self, name: &str, policy: impl Fn(&str) -> Option<&'static str>) -> PathBuf {
        let dir = self.dir.0.display();
        let mut text = format!(
            "server:\n  rundir: {dir}\n  listen: 127.0.0.1@{}\n\
             database:\n  storage: {dir}/keys\n\
             log:\n- target: stderr\n  any: warning\n\
             policy:\n\
             - id: nsec\n  single-type-signing: on\n\
             - id: iterations\n  single-type-signing: on\n  nsec3: on\n  nsec3-iterations: 2500\n\
             - id: nsec3\n  single-type-signing: on\n  nsec3: on\n  nsec3-iterations: 0\n\
             - id: short\n  single-type-signing: on\n  rrsig-lifetime: 2s\n  rrsig-refresh: 1s\n  \
             rrsig-pre-refresh: 0\n  propagation-delay: 0\n  zone-max-ttl: 1\n  dnskey-ttl: 1\n\
             template:\n- id: default\n  storage: {dir}\n  zonefile-sync: 0\n  zonefile-load: whole\n  \
             journal-content: none\n  semantic-checks: off\nzone:\n",
            self.dns_port
        );
        let listed = fs::read_to_string(self.dir.0.join("zones")).expect("the list of zones");
        for zone in listed.lines() {
            let file = self.zone_file(zone);
            let _ = writeln!(text, "- domain: {zone}\n  file: {}", file.display());
            if let Some(policy) = policy(zone) {
                let _ = writeln!(text, "  dnssec-signing: on\n  dnssec-policy: {policy}");
            }
        }
        let path = self.dir.0.join(format!("{name}.conf"));
        fs::write(&path, text).expect("written");
        path
    }

    fn serve(&self, config: &Path) -> Process {
        let log = fs::File::create(config.with_extension("log")).expect("a log file");
        let mut command = Command::new(program("knotd"));
        command.arg("-c").arg(config).stderr(log).stdout(Stdio::null());
        let process = Process(command.spawn().expect("knotd starts"));
        let port = self.dns_port;
        eventually(Duration::from_secs(20), "knotd listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        process
    }

    fn write_zones(&self, destinations: &[Destination], keys: &Keys, signed: bool) {
        let mut zones = vec![".".to_owned(), "test.".to_owned()];
        zones.extend(destinations.iter().map(|d| format!("{}.test.", d.name)));
        fs::write(self.dir.0.join("zones"), zones.join("\n")).expect("written");
        let policy = |zone: &str| {
            let of = |d: &&Destination| zone == format!("{}.test.", d.name);
            Some(match destinations.iter().find(of).map(|d| d.zone) {
                _ if !signed => return None,
                Some(Zone::Unsigned) => return None,
                Some(Zone::Nsec3) => "nsec3",
                Some(Zone::Iterations) => "iterations",
                Some(Zone::Expired) => "short",
                _ => "nsec",
            })
        };
        let config = self.configure("signed", policy);
        let keymgr = |zone: &str, words: &[&str]| {
            let out = Command::new(program("keymgr")).arg("-c").arg(&config).arg(zone).args(words).output();
            let out = out.expect("keymgr runs");
            assert!(out.status.success(), "keymgr: {}", String::from_utf8_lossy(&out.stderr));
            String::from_utf8(out.stdout).expect("UTF-8")
        };
        let ds = |zone: &str| {
            let all = keymgr(zone, &["ds"]);
            all.lines().find(|line| line.contains(" 13 2 ")).expect("a SHA-256 digest").to_owned()
        };
        for zone in zones.iter().filter(|zone| policy(zone).is_some()) {
            keymgr(zone, &["generate", "algorithm=ECDSAP256SHA256", "ksk=yes", "zsk=yes"]);
        }
        const HEAD: &str = "@ 3600 SOA ns.test. admin.test. 1 3600 600 86400 300\n@ 3600 NS ns.test.\n";
        let put = |zone: &str, text: String| {
            fs::write(self.zone_file(zone), format!("$ORIGIN {zone}\n{HEAD}{text}")).expect("written");
        };
        put(
            ".",
            format!(
                "test. NS ns.test.\nns.test. A 127.0.0.1\n{}\n",
                if signed { ds("test.") } else { String::new() }
            ),
        );
        let mut test = String::from("ns A 127.0.0.1\n");
        for d in destinations {
            let zone = format!("{}.test.", d.name);
            let _ = writeln!(test, "{zone} NS ns.test.");
            match d.zone {
                Zone::Unsigned => {}
                Zone::WrongDs => {
                    let line = ds(&zone);
                    let (front, _) = line.rsplit_once(' ').expect("a digest");
                    let _ = writeln!(test, "{front} {}", "5a".repeat(32));
                }
                _ => test.push_str(&(ds(&zone) + "\n")),
            }
            let mut text = String::from("@ MX 10 mx\n");
            match self.addresses.get(d.name) {
                Some(address) => text.push_str(&format!("mx A {address}\n")),
                None => text.push_str("mx CNAME mx.good.test.\n"),
            }
            for tlsa in d.tlsa {
                let _ = match tlsa {
                    Tlsa::Wildcard => writeln!(text, "*._tcp.mx CNAME key\nkey TLSA {}", keys.tlsa(*tlsa)),
                    _ => writeln!(text, "_{}._tcp.mx TLSA {}", self.smtp_port, keys.tlsa(*tlsa)),
                };
            }
            put(&zone, text);
        }
        put("test.", test);
        if !signed {
            return;
        }
        fs::write(self.trust_anchor(), keymgr(".", &["dnskey"])).expect("written");
        let signer = self.serve(&config);
        for zone in zones.iter().filter(|zone| policy(zone).is_some()) {
            eventually(Duration::from_secs(30), "every zone is signed", || {
                fs::read_to_string(self.zone_file(zone)).is_ok_and(|text| text.contains("RRSIG\tSOA"))
            });
        }
        drop(signer);
        std::thread::sleep(Duration::from_secs(3)); // the short signatures run out
        for d in destinations.iter().filter(|d| d.zone == Zone::Changed) {
            let file = self.zone_file(&format!("{}.test.", d.name));
            let text = fs::read_to_string(&file).expect("the signed zone");
            let own = keys.own.to_ascii_lowercase();
            let changed = text.to_ascii_lowercase().contains(&own);
            assert!(changed, "the record is there: {text}");
            let other = text.replace(&own, &"5a".repeat(32)).replace(&own.to_uppercase(), &"5a".repeat(32));
            fs::write(&file, other).expect("written");
        }
    }
}

/// SHA-256 of the public keys, in hexadecimal.
struct Keys {
    own: String,
    authority: String,
}

impl Keys {
    fn tlsa(&self, tlsa: Tlsa) -> String {
        match tlsa {
            Tlsa::Own | Tlsa::Wildcard => format!("3 1 1 {}", self.own),
            Tlsa::Other => format!("3 1 1 {}", "a5".repeat(32)),
            Tlsa::Authority => format!("2 1 1 {}", self.authority),
            Tlsa::Unusable => format!("1 1 1 {}", self.own),
        }
    }
}

fn certificates(dir: &Path) -> Keys {
    let put = |name: &str, text: String| fs::write(dir.join(name), text).expect("written");
    let hash = |key: &KeyPair| {
        let digest = Sha256::digest(key.subject_public_key_info());
        digest.iter().fold(String::new(), |text, octet| text + &format!("{octet:02x}"))
    };
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["nobody.invalid".to_owned()]).expect("a name");
    put("own.pem", params.self_signed(&key).expect("a certificate").pem());
    put("own.key", key.serialize_pem());
    let own = hash(&key);

    let mut params = CertificateParams::new(Vec::<String>::new()).expect("no name");
    params.distinguished_name.push(DnType::CommonName, "authority of the test");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = hash(&key);
    let root = CertifiedIssuer::self_signed(params, key).expect("a certificate");
    let names = ["mx.anchor.test", "mx.trusted.test"].map(str::to_owned).to_vec();
    let key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(names).expect("names").signed_by(&key, &root).expect("a certificate");
    put("root.pem", root.pem());
    put("chain.pem", server.pem() + &root.pem());
    put("chain.key", key.serialize_pem());
    Keys { own, authority }
}

/// Servers are not in everybody's path.
fn program(name: &str) -> PathBuf {
    let usual = Path::new("/usr/sbin").join(name);
    if usual.is_file() { usual } else { PathBuf::from(name) }
}
