//! The Redis that a URL names: one server, the master that Sentinels know, or a cluster.
//!
//! | URL | what it names |
//! | --- | --- |
//! | `redis://user:password@host:6379/0`, `rediss://…` over TLS, `unix:///path` | one server |
//! | `redis+sentinel://user:password@host:26379,host:26379/NAME/0?sentinel_password=…` | the master called NAME; user and password are those of the servers |
//! | `redis+cluster://user:password@host:6379,host:6379` | a cluster; one of its nodes is enough to find the others |
//!
//! `rediss+sentinel` and `rediss+cluster` speak TLS with every server.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisResult, TlsMode};
use tokio::sync::Mutex;
use url::Url;

/// The schemes of URLs of one server.
const ONE: [&str; 4] = ["redis", "rediss", "unix", "redis+unix"];
/// The schemes of URLs that name several.
const SEVERAL: [(&str, &str); 4] = [
    ("redis+sentinel", "redis"),
    ("rediss+sentinel", "rediss"),
    ("redis+cluster", "redis"),
    ("rediss+cluster", "rediss"),
];

/// Port of a Sentinel unless the URL has another.
const SENTINEL_PORT: u16 = 26379;

/// The Redis servers that a URL names.
#[derive(Debug, Clone)]
pub(crate) enum Servers {
    /// One server.
    One(Box<ConnectionInfo>),
    /// The master of a name.
    Sentinel {
        /// The Sentinels.
        sentinels: Vec<ConnectionInfo>,
        /// The name.
        master: String,
        /// Number of the database of the master.
        database: i64,
        /// Password of the Sentinels.
        sentinel_password: Option<String>,
    },
    /// A cluster, by some of its nodes.
    Cluster(Vec<ConnectionInfo>),
}

impl Servers {
    /// Reads a URL. The error does not repeat it: it may hold a password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("it is no URL")?;
        if ONE.contains(&scheme) {
            let info = text.into_connection_info().map_err(|error| format!("it is no URL of Redis ({error})"))?;
            return Ok(Self::One(Box::new(info)));
        }
        let Some((_, each)) = SEVERAL.into_iter().find(|(several, _)| *several == scheme) else {
            let several = SEVERAL.map(|(several, _)| several);
            return Err(format!("its scheme is none of {}, {}", ONE.join(", "), several.join(", ")));
        };
        let is_cluster = scheme.ends_with("cluster");
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
        let at = if user.is_empty() { "" } else { "@" };
        let node = |host: &str| {
            let mut url = Url::parse(&format!("{each}://{user}{at}{host}")).map_err(|error| error.to_string())?;
            if !is_cluster && url.port().is_none() {
                url.set_port(Some(SENTINEL_PORT)).map_err(|()| "a host is missing".to_owned())?;
            }
            url.into_connection_info().map_err(|error| error.to_string())
        };
        let nodes: Result<Vec<_>, _> = hosts.split(',').map(node).collect();
        let nodes = nodes.map_err(|reason| format!("its hosts are no `host:port,host:port` ({reason})"))?;
        let path = Url::parse(&format!("{each}://host{path}")).map_err(|error| format!("it is no URL ({error})"))?;
        let mut segments = path.path().split('/').filter(|segment| !segment.is_empty());
        if is_cluster {
            let is_bare = segments.next().is_none() && path.query().is_none();
            return is_bare
                .then_some(Self::Cluster(nodes))
                .ok_or_else(|| "a cluster has no databases and no options: end the URL with the last host".to_owned());
        }
        let master = segments.next().ok_or("the master's name is missing: redis+sentinel://host:26379/NAME")?;
        let database = match segments.next() {
            Some(number) => number.parse().map_err(|_| "what follows the master's name is no number of a database")?,
            None => 0,
        };
        let mut sentinel_password = None;
        for (name, value) in path.query_pairs() {
            if name != "sentinel_password" {
                return Err(format!("it has the option `{name}`, and only sentinel_password is known"));
            }
            sentinel_password = Some(value.into_owned());
        }
        Ok(Self::Sentinel { sentinels: nodes, master: master.to_owned(), database, sentinel_password })
    }

    /// The hosts as a URL without user, passwords and options; `None` for one server, whose URL any library reads.
    pub(crate) fn without_secrets(&self) -> Option<String> {
        let (kind, nodes, path) = match self {
            Self::One(_) => return None,
            Self::Sentinel { sentinels, master, database, .. } => {
                ("sentinel", sentinels, format!("/{master}/{database}"))
            }
            Self::Cluster(nodes) => ("cluster", nodes, String::new()),
        };
        let is_tls = nodes.iter().any(|node| matches!(node.addr(), ConnectionAddr::TcpTls { .. }));
        let hosts: Vec<String> = nodes.iter().map(|node| node.addr().to_string()).collect();
        Some(format!("{}+{kind}://{}{path}", if is_tls { "rediss" } else { "redis" }, hosts.join(",")))
    }

    /// A connection, which is made when it is used first. Connecting and each answer take no longer than `timeout`.
    pub(crate) fn connect(self, timeout: Duration) -> RedisResult<Connection> {
        match self {
            Self::One(info) => {
                // The manager connects once for each attempt of the ledger's, so that no operation waits for the
                // manager's own retries.
                let config = ConnectionManagerConfig::new()
                    .set_number_of_retries(0)
                    .set_connection_timeout(Some(timeout))
                    .set_response_timeout(Some(timeout));
                Ok(Connection::One(ConnectionManager::new_lazy_with_config(Client::open(*info)?, config)?))
            }
            Self::Sentinel { sentinels, master, database, sentinel_password } => {
                let addresses: Vec<_> = sentinels.iter().map(|info| info.addr().clone()).collect();
                let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
                    .set_client_to_redis_db(database);
                if let Some(info) = sentinels.first() {
                    if let Some(user) = info.redis_settings().username() {
                        builder = builder.set_client_to_redis_username(user);
                    }
                    if let Some(password) = info.redis_settings().password() {
                        builder = builder.set_client_to_redis_password(password);
                    }
                    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
                        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
                    }
                }
                if let Some(password) = sentinel_password {
                    builder = builder.set_client_to_sentinel_password(password);
                }
                let client = Arc::new(Mutex::new(builder.build()?));
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(timeout))
                    .set_response_timeout(Some(timeout));
                Ok(Connection::Sentinel(Reopened::new(move || {
                    let (client, config) = (client.clone(), config.clone());
                    async move { client.lock().await.get_async_connection_with_config(&config).await }.boxed()
                })))
            }
            Self::Cluster(nodes) => {
                let builder = ClusterClientBuilder::new(nodes).retries(0);
                let client = builder.connection_timeout(timeout).response_timeout(timeout).build()?;
                Ok(Connection::Cluster(Reopened::new(move || {
                    let client = client.clone();
                    async move { client.get_async_connection().await }.boxed()
                })))
            }
        }
    }
}

/// A connection to what a URL names, for any number of requests at once.
pub(crate) enum Connection {
    /// To one server.
    One(ConnectionManager),
    /// To the master that the Sentinels named last.
    Sentinel(Reopened<MultiplexedConnection>),
    /// To the nodes of a cluster.
    Cluster(Reopened<ClusterConnection>),
}

/// A connection that is opened again after it was lost: the servers that it leads to may be others by then.
pub(crate) struct Reopened<C> {
    open: Box<dyn Fn() -> BoxFuture<'static, RedisResult<C>> + Send + Sync>,
    current: Mutex<Current<C>>,
}

struct Current<C> {
    connection: Option<C>,
    /// Number of connections that were opened so far.
    number: u64,
}

impl<C: ConnectionLike + Clone + Send> Reopened<C> {
    fn new(open: impl Fn() -> BoxFuture<'static, RedisResult<C>> + Send + Sync + 'static) -> Self {
        Self { open: Box::new(open), current: Mutex::new(Current { connection: None, number: 0 }) }
    }

    /// The connection, and its number for [`Self::lose`].
    pub(crate) async fn get(&self) -> RedisResult<(C, u64)> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &current.connection {
            return Ok((connection.clone(), current.number));
        }
        let connection = (self.open)().await?;
        current.number += 1;
        current.connection = Some(connection.clone());
        Ok((connection, current.number))
    }

    /// Has the next request open another connection, unless one was opened since `number`.
    pub(crate) async fn lose(&self, number: u64) {
        let mut current = self.current.lock().await;
        if current.number == number {
            current.connection = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(nodes: &[ConnectionInfo]) -> Vec<String> {
        nodes.iter().map(|node| node.addr().to_string()).collect()
    }

    #[test]
    fn a_url_names_one_server_a_master_or_a_cluster() {
        let Servers::One(info) = Servers::parse("rediss://:p%40ss@cache:6380/2").unwrap() else { panic!() };
        assert!(matches!(info.addr(), ConnectionAddr::TcpTls { port: 6380, .. }));
        assert_eq!((info.redis_settings().password(), info.redis_settings().db()), (Some("p@ss"), 2));
        let several = "redis+sentinel://farm:p%40ss@one,two:26380,[::1]:7/main/3?sentinel_password=s%26";
        let Servers::Sentinel { sentinels, master, database, sentinel_password } = Servers::parse(several).unwrap()
        else {
            panic!()
        };
        assert_eq!(addresses(&sentinels), ["one:26379", "two:26380", "::1:7"]);
        assert_eq!((master.as_str(), database, sentinel_password.as_deref()), ("main", 3, Some("s&")));
        let settings = sentinels[0].redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("farm"), Some("p@ss")));
        let Servers::Cluster(nodes) = Servers::parse("rediss+cluster://:x@a,b:7001").unwrap() else { panic!() };
        assert_eq!(addresses(&nodes), ["a:6379", "b:7001"]);
        assert!(nodes.iter().all(|node| matches!(node.addr(), ConnectionAddr::TcpTls { .. })));
    }

    #[test]
    fn what_is_no_such_url_is_refused_without_its_password() {
        for (text, reason) in [
            ("cache:6379", "it is no URL"),
            ("amqp://:hidden@cache", "its scheme is none of redis, rediss"),
            ("redis+sentinel://:hidden@one,two", "the master's name is missing"),
            ("redis+sentinel://:hidden@one/main/x", "no number of a database"),
            ("redis+sentinel://:hidden@one/main?db=3", "it has the option `db`"),
            ("redis+cluster://:hidden@one/0", "a cluster has no databases"),
            ("redis+cluster://:hidden@one,two:x", "its hosts are no"),
            ("redis+cluster://", "its hosts are no"),
        ] {
            let error = Servers::parse(text).unwrap_err();
            assert!(error.contains(reason) && !error.contains("hidden"), "{text}: {error}");
        }
    }
}
