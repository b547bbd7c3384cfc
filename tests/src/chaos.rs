//! A TCP proxy before one server of this machine that makes the network bad on command. It knows nothing of what
//! passes; when the weather changes is the test's choice, what it does to a piece of a connection the seed's.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::dice::Dice;

const PIECE: usize = 16 * 1024;
const TICK: Duration = Duration::from_millis(50);

/// What becomes of each piece of each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Calm,
    /// It waits for up to so long.
    Delay(Duration),
    /// At most so many bytes pass in a second, each way.
    Narrow(u64),
    /// Nothing passes until the weather changes; connections stay, and new ones are taken.
    Stall,
}

/// What becomes of the connections that there are; new ones are not affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// Both ends see it closed, after at most so many bytes more: often within a frame.
    Cut(u64),
    /// Neither end is told, and nothing passes any more.
    HalfOpen,
}

pub struct Proxy {
    pub port: u16,
    weather: watch::Sender<Weather>,
    blow: watch::Sender<Option<Blow>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on this port and passes what comes on to the other one.
    pub async fn start(port: u16, to: u16, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let (weather, blow) = (watch::Sender::new(Weather::Calm), watch::Sender::new(None));
        let (skies, blows) = (weather.clone(), blow.clone());
        let accepting = tokio::spawn(async move {
            // Dropped with this task, and with it every connection.
            let mut connections = JoinSet::new();
            let mut dice = Dice(seed);
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let dice = Dice(dice.roll());
                let (sky, blows) = (skies.subscribe(), blows.subscribe());
                connections.spawn(connection(client, to, dice, sky, blows));
            }
        });
        Self { port, weather, blow, accepting }
    }

    pub fn weather(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Ends the connections that there are, each after at most so many bytes more.
    pub fn cut(&self, within: u64) {
        self.blow.send_replace(Some(Blow::Cut(within)));
    }

    /// Forgets the connections that there are: to each end the other one is silent, and never closes.
    pub fn half_open(&self) {
        self.blow.send_replace(Some(Blow::HalfOpen));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn connection(
    client: TcpStream,
    to: u16,
    mut dice: Dice,
    sky: watch::Receiver<Weather>,
    mut blows: watch::Receiver<Option<Blow>>,
) {
    let Ok(server) = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, to))).await else {
        return;
    };
    let _latency = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let left = watch::Sender::new(u64::MAX);
    let forth = pump(from_client, to_server, Dice(dice.roll()), sky.clone(), left.subscribe());
    let back = pump(from_server, to_client, Dice(dice.roll()), sky, left.subscribe());
    let both = async { tokio::join!(forth, back) };
    tokio::pin!(both);
    loop {
        tokio::select! {
            _ends = &mut both => return,
            blown = blows.changed() => match (blown, *blows.borrow()) {
                (Err(_), _) => return,
                (Ok(()), Some(Blow::Cut(within))) => drop(left.send_replace(dice.below(within + 1))),
                // Both sockets stay open until the proxy goes.
                (Ok(()), Some(Blow::HalfOpen)) => break,
                (Ok(()), None) => {}
            },
        }
    }
    std::future::pending::<()>().await;
}

/// One way, until it ends or has passed the bytes that are left to it. Its halves come back, so that a connection is
/// closed only when both ways have ended.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut dice: Dice,
    mut sky: watch::Receiver<Weather>,
    mut left: watch::Receiver<u64>,
) -> (OwnedReadHalf, OwnedWriteHalf) {
    let mut piece = vec![0; PIECE];
    let mut passed = 0;
    loop {
        let most = match *sky.borrow() {
            Weather::Narrow(bytes_per_s) => (bytes_per_s / 20).clamp(1, PIECE as u64) as usize,
            _ => PIECE,
        };
        let read = tokio::select! {
            read = from.read(&mut piece[..most]) => read,
            changed = left.changed() => match (changed, *left.borrow()) {
                (Ok(()), 1..) => { passed = 0; continue }
                _ => break,
            },
        };
        let Ok(read @ 1..) = read else { break };
        let weather = *sky.borrow();
        match weather {
            Weather::Calm => {}
            Weather::Delay(most) => {
                let wait = dice.below(1 + u64::try_from(most.as_millis()).unwrap());
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
            Weather::Narrow(_) => tokio::time::sleep(TICK).await,
            Weather::Stall => {
                let _gone = sky.wait_for(|weather| *weather != Weather::Stall).await;
            }
        }
        let may = left.borrow().saturating_sub(passed).min(read as u64) as usize;
        if to.write_all(&piece[..may]).await.is_err() || may < read {
            break;
        }
        passed += may as u64;
    }
    let _already_gone = to.shutdown().await;
    (from, to)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::process::free_port;

    const SILENCE: Duration = Duration::from_millis(200);

    /// A server that answers each byte with itself, and a proxy before it.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.into_split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        Proxy::start(free_port(), port, 7).await
    }

    async fn dial(proxy: &Proxy) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).await.unwrap()
    }

    /// What comes back of these bytes; `None`: nothing, and the connection is open.
    async fn back(stream: &mut TcpStream, bytes: &[u8]) -> Option<Vec<u8>> {
        let _may_be_closed = stream.write_all(bytes).await;
        let mut all = Vec::new();
        let read = async {
            let mut piece = [0; 1024];
            while all.len() < bytes.len() {
                match stream.read(&mut piece).await {
                    Ok(n @ 1..) => all.extend(&piece[..n]),
                    _ => return,
                }
            }
        };
        tokio::time::timeout(SILENCE, read).await.ok().map(|()| all)
    }

    #[tokio::test]
    async fn in_calm_weather_all_passes() {
        let proxy = echo().await;
        let mut stream = dial(&proxy).await;
        assert_eq!(back(&mut stream, b"hello").await.unwrap(), b"hello");
        proxy.weather(Weather::Delay(Duration::from_millis(20)));
        assert_eq!(back(&mut stream, b"again").await.unwrap(), b"again");
    }

    #[tokio::test]
    async fn in_a_stall_nothing_passes_and_nothing_is_lost() {
        let proxy = echo().await;
        let mut stream = dial(&proxy).await;
        proxy.weather(Weather::Stall);
        assert_eq!(back(&mut stream, b"held").await, None);
        proxy.weather(Weather::Calm);
        let mut held = [0; 4];
        stream.read_exact(&mut held).await.unwrap();
        assert_eq!(&held, b"held");
    }

    #[tokio::test]
    async fn a_narrow_way_takes_its_time() {
        let proxy = echo().await;
        let mut stream = dial(&proxy).await;
        proxy.weather(Weather::Narrow(2_000));
        let began = Instant::now();
        stream.write_all(&[1; 600]).await.unwrap();
        stream.read_exact(&mut [0; 600]).await.unwrap();
        assert!(began.elapsed() > Duration::from_millis(200), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_cut_ends_what_there_is_within_a_message() {
        let proxy = echo().await;
        let mut stream = dial(&proxy).await;
        assert_eq!(back(&mut stream, b"hello").await.unwrap(), b"hello");
        proxy.cut(8);
        tokio::time::sleep(TICK).await;
        let rest = back(&mut stream, b"much longer than eight").await.unwrap();
        assert!(rest.len() <= 8 && b"much longer than eight".starts_with(&rest), "{rest:?}");
        assert_eq!(back(&mut dial(&proxy).await, b"new").await.unwrap(), b"new");
    }

    #[tokio::test]
    async fn a_half_open_connection_is_silent_and_stays() {
        let proxy = echo().await;
        let mut stream = dial(&proxy).await;
        assert_eq!(back(&mut stream, b"hello").await.unwrap(), b"hello");
        proxy.half_open();
        tokio::time::sleep(TICK).await;
        assert_eq!(back(&mut stream, b"lost").await, None);
        assert_eq!(back(&mut dial(&proxy).await, b"new").await.unwrap(), b"new");
        assert_eq!(back(&mut stream, b"lost").await, None);
    }
}
