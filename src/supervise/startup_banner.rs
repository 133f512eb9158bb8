//! The log lines at start: the addresses of the program, ready to paste, and what is open to
//! everyone.

use crate::config::Access;
use crate::net::interfaces;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Logs a line for each address (of every interface where the listener is on all of them), where
/// the page is, which with `serve_client` is at these addresses, and, without a token, what is open
/// to whom.
pub fn log(listening: SocketAddr, access: &Access, tls: bool, serve_client: bool) {
    let port = listening.port();
    let s = if tls { "s" } else { "" };
    for ip in addresses(listening.ip()) {
        let at = SocketAddr::new(ip, port);
        tracing::info!(
            "listening on http{s}://{at} ({}stream: ws{s}://{at}/stream)",
            if serve_client { "the page; " } else { "" }
        );
    }
    if !serve_client {
        let allows_files =
            access.file_origin || access.token.is_some() || access.token_file.is_some();
        let file = if allows_files {
            "open public/index.html, or "
        } else {
            ""
        };
        tracing::info!("viewer page: {file}start with --serve-client");
    }
    if let Some(open) = open_access(listening.ip(), access) {
        tracing::warn!("no token set: {open}");
    }
}

fn open_access(ip: IpAddr, access: &Access) -> Option<String> {
    if access.token.is_some() || access.token_file.is_some() {
        return None;
    }
    let everyone = if access.public_clients {
        "anyone who can reach this machine can watch and listen"
    } else {
        "anyone on this machine's networks can watch and listen"
    };
    let machines = (!ip.is_loopback()).then(|| {
        format!(
            "{everyone} (--token-file FILE requires a token; --host 127.0.0.1 keeps others out)"
        )
    });
    // A file's origin is `null`, and so is that of a sandboxed frame in any page.
    let pages = access.file_origin.then(|| {
        "any web page in a browser that can reach this address can watch and listen \
         (--no-file-origin or --token-file FILE prevents it)"
            .to_owned()
    });
    let open: Vec<_> = machines.into_iter().chain(pages).collect();
    (!open.is_empty()).then(|| open.join("; "))
}

fn addresses(ip: IpAddr) -> BTreeSet<IpAddr> {
    if !ip.is_unspecified() {
        return [ip].into();
    }
    let found: BTreeSet<IpAddr> = interfaces::addresses()
        .into_iter()
        .filter(|a| ip.is_ipv6() || a.is_ipv4())
        .collect();
    if found.is_empty() { [ip].into() } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_unspecified_is_those_of_all_interfaces() {
        let found = addresses(IpAddr::from([0, 0, 0, 0]));
        assert!(found.contains(&IpAddr::from([127, 0, 0, 1])), "{found:?}");
        assert!(found.iter().all(IpAddr::is_ipv4));
        assert_eq!(
            addresses(IpAddr::from([127, 0, 0, 1])),
            [IpAddr::from([127, 0, 0, 1])].into()
        );
    }

    #[test]
    fn open_access_without_token_names_machines_and_pages() {
        let open = Access {
            file_origin: true,
            ..Access::default()
        };
        let no_files = Access {
            file_origin: false,
            ..Access::default()
        };
        let guarded = Access {
            token_file: Some("/etc/token".into()),
            ..open.clone()
        };
        let (network, loopback) = (IpAddr::from([192, 0, 2, 7]), IpAddr::from([127, 0, 0, 1]));
        let said = |ip, access| open_access(ip, access).unwrap_or_default();
        for (ip, access, machines, pages) in [
            (network, &open, true, true),
            (network, &no_files, true, false),
            (loopback, &open, false, true),
            (loopback, &no_files, false, false),
            (network, &guarded, false, false),
        ] {
            let said = said(ip, access);
            assert_eq!(
                (said.contains("anyone"), said.contains("web page")),
                (machines, pages),
                "{ip} {access:?}: {said}"
            );
        }
    }
}
