//! PostgreSQL servers of the tests' own: in a folder in `/tmp`, on a free port of this machine, gone with the test process, however
//! that ends.
//!
//! PostgreSQL refuses to run as root; then it runs as the user `postgres`, whom its Debian package makes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use crate::free_port;

/// A server.
pub(crate) struct Postgres {
    folder: PathBuf,
    port: u16,
    schemas: AtomicU32,
    watchdog: Child,
}

impl Postgres {
    /// The server for every test that does not hurt it.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<Postgres> = LazyLock::new(Postgres::start);
        &SHARED
    }

    /// A server for one test.
    ///
    /// # Panics
    /// If there is no PostgreSQL on this machine, or it does not start.
    pub(crate) fn start() -> Self {
        let folder = done(&mut as_server(Path::new("mktemp")), &["-d", "/tmp/cloakroom-postgres.XXXXXX"]);
        let folder = PathBuf::from(folder.trim());
        let data = folder.join("data");
        let watchdog = watch(&data, &folder);
        let port = free_port();
        done(&mut tool("initdb"), &["-D", text(&data), "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8"]);
        fs::write(data.join("pg_hba.conf"), HBA).expect("the folder can be written");
        let settings = SETTINGS.replace("PORT", &port.to_string());
        fs::write(data.join("postgresql.auto.conf"), settings).expect("the folder can be written");
        write_certificates(&data);
        let server = Self { folder, port, schemas: AtomicU32::new(0), watchdog };
        server.start_again();
        done(&mut server.psql(), &["-c", "CREATE ROLE cloakroom LOGIN PASSWORD 'hunter2'"]);
        server
    }

    /// The URL of a schema that nobody else uses, empty, for a role that may do nothing outside of it.
    pub(crate) async fn schema(&self) -> String {
        let name = format!("schema_{}", self.schemas.fetch_add(1, Ordering::SeqCst));
        let create = format!("CREATE SCHEMA {name} AUTHORIZATION cloakroom");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut self.admin().await).await.expect("a schema can be made");
        format!("{}&options=-c%20search_path%3D{name}", self.url("cloakroom", "sslmode=disable"))
    }

    /// The URL of the database. The role needs a password if it connects with TLS.
    pub(crate) fn url(&self, role: &str, parameters: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/postgres?{parameters}", self.port)
    }

    /// The certificate that the server's own is signed with.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.join("data/ca.crt")
    }

    /// A connection that may do anything.
    pub(crate) async fn admin(&self) -> PgConnection {
        let options: PgConnectOptions = self.url("postgres", "sslmode=disable").parse().expect("a URL");
        options.connect().await.expect("the server answers")
    }

    /// As a crash would end it.
    pub(crate) fn stop_at_once(&self) {
        done(&mut tool("pg_ctl"), &["stop", "-D", text(&self.data()), "-m", "immediate", "-w"]);
    }

    pub(crate) fn start_again(&self) {
        let log = self.folder.join("log");
        done(&mut tool("pg_ctl"), &["start", "-D", text(&self.data()), "-l", text(&log), "-w"]);
    }

    /// All its processes stand still, as on a machine that hangs.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pids = fs::read_to_string(self.data().join("postmaster.pid")).expect("the server runs");
        let pid = pids.lines().next().expect("its first line is the process id");
        // The first process first, so that it starts no others meanwhile. Woken up, it has some that end before they hear of it.
        let script = "kill -\"$0\" \"$1\" && { kill -\"$0\" $(pgrep -P \"$1\") || [ \"$0\" = CONT ]; }";
        done(&mut Command::new("sh"), &["-c", script, name, pid]);
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn psql(&self) -> Command {
        let mut command = tool("psql");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-d", "postgres"]);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// Ends the server and removes its folder once this process has let go of the pipe, which it does also when it is killed.
fn watch(data: &Path, folder: &Path) -> Child {
    let script = "trap '' INT TERM HUP; cat >/dev/null
        pid=$(head -n 1 \"$1/postmaster.pid\") && kill -CONT \"$pid\" $(pgrep -P \"$pid\")
        \"$0\" stop -D \"$1\" -m immediate -w; rm -rf \"$2\"";
    as_server(Path::new("sh"))
        .args(["-c", script, text(&program("pg_ctl")), text(data), text(folder)])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh runs")
}

/// A CA, and the server's certificate for `localhost` and 127.0.0.1.
fn write_certificates(data: &Path) {
    let ca_key = KeyPair::generate().expect("a key can be made");
    let mut ca = CertificateParams::new([]).expect("no names");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).expect("a certificate can be signed");
    let issuer = Issuer::from_params(&ca, &ca_key);
    let key = KeyPair::generate().expect("a key can be made");
    let server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("names");
    let certificate = server.signed_by(&key, &issuer).expect("a certificate can be signed");
    let owner = fs::metadata(data).expect("initdb made it");
    for (name, pem) in
        [("ca.crt", ca_certificate.pem()), ("server.crt", certificate.pem()), ("server.key", key.serialize_pem())]
    {
        let path = data.join(name);
        fs::write(&path, pem).expect("the folder can be written");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("it is ours");
        chown(&path, Some(owner.uid()), Some(owner.gid())).expect("it can be given away");
    }
}

/// One of PostgreSQL's programs.
fn tool(name: &str) -> Command {
    as_server(&program(name))
}

/// The newest one that Debian has installed, or what `PATH` finds.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let found = versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).max();
    found.unwrap_or_else(|| PathBuf::from(name))
}

/// A command as the user that servers run as.
fn as_server(program: &Path) -> Command {
    let is_root = done(&mut Command::new("id"), &["-u"]).trim() == "0";
    let mut command = if is_root { Command::new("setpriv") } else { Command::new(program) };
    if is_root {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    }
    command.current_dir("/");
    command
}

/// Runs a command to its end and answers what it printed.
///
/// # Panics
/// If it cannot be found or fails: what a test needs and does not find fails it.
fn done(command: &mut Command, arguments: &[&str]) -> String {
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ASCII")
}

/// TLS needs a password, so that both are tried; without TLS anybody is let in.
const HBA: &str = "hostssl all all 127.0.0.0/8 scram-sha-256\nhost all all 127.0.0.0/8 trust\n";

/// What is lost with the machine may be lost: it does not go down in a test. The certificate does not name the second address.
const SETTINGS: &str = "listen_addresses = '127.0.0.1, 127.0.0.2'
port = PORT
unix_socket_directories = ''
fsync = off
max_connections = 400
ssl = on
ssl_cert_file = 'server.crt'
ssl_key_file = 'server.key'
";
