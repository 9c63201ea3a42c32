// SPDX-License-Identifier: Apache-2.0
//! A real nginx in front of one upstream: on a port of its own, with all its files in a temporary directory, ended with the
//! value.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to answer its first request. Generous: it is the machine's load that decides.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Starts with another port, if somebody else took the one that was free a moment ago.
const ATTEMPTS: usize = 5;

/// A running nginx. Dropping it ends it.
pub(crate) struct Nginx {
    process: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Nginx {
    /// An nginx that hands everything to `upstream` over HTTP/1.1, with `settings` beside that.
    ///
    /// `None` if nginx is not installed: the reason and the remedy are printed, and the test has nothing to do.
    ///
    /// # Panics
    /// If it is not installed and the environment says `CI=true`, or if it does not start.
    pub(crate) fn start(upstream: &str, settings: &str) -> Option<Self> {
        let program = program()?;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match Self::launch(&program, upstream, settings) {
                Ok(nginx) => return Some(nginx),
                Err(error) => last = Some(error),
            }
        }
        panic!("{} did not start: {}", program.display(), last.map_or_else(String::new, |error| error.to_string()))
    }

    /// `host:port`
    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    fn launch(program: &Path, upstream: &str, settings: &str) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        // nginx cannot tell which port the system chose, so it is asked for one that is free now.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let marker = directory.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        std::fs::write(directory.path().join("nginx.conf"), config(address, upstream, settings, &marker))?;
        let process = Command::new(program)
            .arg("-p")
            .arg(directory.path())
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut nginx = Self { process, address, _directory: directory };
        let started = Instant::now();
        while !is_ours(address, &marker) {
            let ended = nginx.process.try_wait()?;
            if ended.is_some() || started.elapsed() > START_LIMIT {
                let log = std::fs::read_to_string(nginx._directory.path().join("error.log")).unwrap_or_default();
                return Err(io::Error::other(format!("it is not ready ({ended:?}); its log:\n{log}")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One process, in the foreground, as whoever runs the test. `marker` tells it from whoever else might hold the port.
fn config(address: SocketAddr, upstream: &str, settings: &str, marker: &str) -> String {
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log error.log info;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen {address};
        location = /ready {{ return 200 '{marker}'; }}
        location / {{
            proxy_pass http://{upstream};
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            proxy_read_timeout 1h;
            {settings}
        }}
    }}
}}
"
    )
}

fn is_ours(address: SocketAddr, marker: &str) -> bool {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, START_LIMIT)?;
        stream.set_read_timeout(Some(START_LIMIT))?;
        stream.write_all(b"GET /ready HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.ends_with(marker))
}

/// Where nginx is. Debian puts it where only an administrator's `PATH` leads.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found = places.map(|place| place.join("nginx")).find(|program| program.is_file());
    if found.is_none() {
        let missing = "nginx is not installed; get it with: apt-get install nginx";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
        eprintln!("skipped: {missing}");
    }
    found
}
