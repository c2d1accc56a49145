//! The proxy that the environment names: which kinds are supported, and which hosts are reached without it.
//!
//! Makes no connection.

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::transport::ConnectionDetails;
use ureq::{Agent, Proxy, ProxyBuilder, ProxyProtocol};

use crate::cli::{Settings, variable};
use crate::url::is_this_machine;
use crate::words::words;

/// Returns the proxy that the environment names, by curl's rules for https. (ureq's own rules differ:
/// ALL_PROXY comes first, though it often is a SOCKS proxy beside an HTTPS_PROXY; HTTP_PROXY is used
/// for https; and capitals come before small letters.) A proxy that cannot be used is an error, unless
/// the API is not asked through it: then perhaps COS is not, either. See `check_proxy`.
pub fn proxy_from_env(settings: &Settings) -> Result<Option<Proxy>, String> {
    let names = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let named = names.iter().find_map(|name| Some((name, variable(name)?)));
    let Some((name, url)) = named else {
        return Ok(None);
    };
    let unusable = || {
        words!(
            "{name}: must be like http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, where special \
             characters are percent-encoded: other kinds of proxies are not supported",
            "{name}: 格式应为 http://HOST:PORT 或 http://USER:PASSWORD@HOST:PORT（特殊字符用百分号编码），\
             不支持其他类型的代理"
        )
    };
    let Some(hosts) = no_proxy_hosts(settings, name) else {
        return Ok(None);
    };
    let mut proxy = proxy_at(&url, name);
    for host in hosts {
        proxy = proxy.no_proxy(&host).no_proxy(&format!(".{host}")); // and all hosts below it
    }
    let proxy = proxy.build().map_err(|_| unusable())?;
    let api: Uri = settings.api_base.parse().unwrap_or_default();
    if is_supported(&proxy) || proxy.is_no_proxy(&api) {
        Ok(Some(proxy))
    } else {
        Err(unusable())
    }
}

/// Returns the hosts that are reached without the proxy, which the variable `proxy_name` names.
/// `None` if all hosts are.
fn no_proxy_hosts(settings: &Settings, proxy_name: &str) -> Option<Vec<String>> {
    let no_proxy = variable("no_proxy").or_else(|| variable("NO_PROXY"));
    let no_proxy = no_proxy.unwrap_or_default();
    if no_proxy.trim() == "*" {
        return None;
    }
    let mut hosts = Vec::new();
    for host in no_proxy.split([',', ' ']) {
        let host = host.trim_matches('.');
        // `*` counts only where it stands alone, as in curl.
        if !host.is_empty() && host != "*" {
            hosts.push(host.to_owned());
        }
    }
    let api: Uri = settings.api_base.parse().unwrap_or_default();
    let api_host = api.host().unwrap_or_default();
    // HTTPS_PROXY is not for an API by plain http. And a secret for this machine alone must not go
    // through a proxy: on the proxy, `localhost` means the proxy itself.
    let is_for_https = proxy_name.eq_ignore_ascii_case("HTTPS_PROXY");
    if !settings.https_only() && (is_for_https || is_this_machine(api_host)) {
        hosts.push(api_host.to_owned());
    }
    Some(hosts)
}

/// Reads the URL of a proxy, as a builder: only a builder takes hosts that are reached without the
/// proxy. A text that is not a URL becomes a proxy that is not supported, named like its variable.
fn proxy_at(url: &str, variable: &str) -> ProxyBuilder {
    let Ok(proxy) = Proxy::new(url) else {
        return Proxy::builder(ProxyProtocol::Socks5).host(variable);
    };
    let mut copy = Proxy::builder(proxy.protocol())
        .host(proxy.host())
        .port(proxy.port());
    if let Some(username) = proxy.username() {
        copy = copy.username(username);
    }
    if let Some(password) = proxy.password() {
        copy = copy.password(password);
    }
    copy
}

/// Returns the proxy that requests to `uri` go through, if there is one.
pub fn proxy_for<'a>(config: &'a Config, uri: &Uri) -> Option<&'a Proxy> {
    config.proxy().filter(|proxy| !proxy.is_no_proxy(uri))
}

/// Whether requests to `url` go through a proxy.
pub fn is_proxied(agent: &Agent, url: &str) -> bool {
    let config = agent.config();
    // Most runs have no proxy, and need not read the URL.
    config.proxy().is_some() && proxy_for(config, &url.parse().unwrap_or_default()).is_some()
}

fn is_supported(proxy: &Proxy) -> bool {
    matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
}

/// Refuses a connection through a proxy that is not supported. ureq itself would connect without the
/// proxy.
pub fn check_proxy(details: &ConnectionDetails) -> Result<(), ureq::Error> {
    match proxy_for(details.config, details.uri) {
        Some(proxy) if !is_supported(proxy) => Err(ureq::Error::InvalidProxyUrl),
        _ => Ok(()),
    }
}
