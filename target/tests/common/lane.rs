//! A scripted lane: pieces one at a time, over a pipe in memory.

use super::{NAME, PEER, TIMEOUT, attrs, incarnation, name, path, pipe, receive};
use bytes::Bytes;
use platform::wire::write_message;
use protocol::{
    Content, Ensure, LaneHello, Message, NodeId, NodeKind, Op, PieceAnswer, PieceOp, Refused, StageId, VERSION,
};
use replfs_target::{Target, TargetError};
use std::sync::Arc;
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

pub const STAGE: StageId = StageId::new(77, 3);

pub fn lane_hello(run: u8, lane: u8) -> LaneHello {
    LaneHello { version: VERSION, name: name(NAME), incarnation: incarnation(run), lane }
}

/// One lane's connection.
pub struct Lane {
    pub reader: ReadHalf<DuplexStream>,
    pub writer: WriteHalf<DuplexStream>,
    pub served: JoinHandle<Result<(), TargetError>>,
    n: u64,
}

impl Lane {
    pub async fn try_open(target: &Arc<Target>, peer: &str, hello: LaneHello) -> Result<Self, Refused> {
        let (mut reader, mut writer, served) = pipe(target, peer);
        write_message(&mut writer, &Message::Lane(hello)).await.unwrap();
        match receive(&mut reader).await.expect("an answer to a lane's hello") {
            Message::LaneAck(_) => Ok(Self { reader, writer, served, n: 0 }),
            Message::Refused(refused) => Err(refused),
            other => panic!("unexpected {other:?}"),
        }
    }

    pub async fn open(target: &Arc<Target>, lane: u8) -> Self {
        Self::try_open(target, PEER, lane_hello(1, lane)).await.unwrap()
    }

    pub async fn send(&mut self, op: PieceOp, payload: &[u8]) -> u64 {
        self.n += 1;
        let message = Message::Piece(self.n, op, Bytes::copy_from_slice(payload));
        write_message(&mut self.writer, &message).await.unwrap();
        self.n
    }

    pub async fn ask(&mut self, op: PieceOp, payload: &[u8]) -> PieceAnswer {
        let n = self.send(op, payload).await;
        match self.next().await.expect("an answer to a piece") {
            Message::PieceDone(m, answer) if m == n => answer,
            other => panic!("unexpected {other:?}"),
        }
    }

    /// What the target says next, heartbeats aside.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            match receive(&mut self.reader).await? {
                Message::Heartbeat => {}
                other => return Some(other),
            }
        }
    }

    pub async fn make(&mut self, stage: StageId) -> u64 {
        match self.ask(PieceOp::Open { stage, size: 0 }, b"").await {
            PieceAnswer::There { len } => len,
            other => panic!("{other:?}"),
        }
    }

    pub async fn data(&mut self, stage: StageId, offset: u64, bytes: &[u8]) {
        assert_eq!(self.ask(PieceOp::Data { stage, offset }, bytes).await, PieceAnswer::Done);
    }

    /// Sends something that ends the lane; the reason.
    pub async fn refused(mut self, op: PieceOp, payload: &[u8]) -> Refused {
        self.send(op, payload).await;
        let Some(Message::Refused(refused)) = self.next().await else { panic!("no reason") };
        drop((self.reader, self.writer));
        tokio::time::timeout(TIMEOUT, self.served).await.expect("the lane ends").unwrap().unwrap_err();
        refused
    }

    /// Waits until the target ends this lane by itself.
    pub async fn ended(mut self) {
        assert_eq!(self.next().await, None);
        tokio::time::timeout(TIMEOUT, self.served).await.expect("the lane ends").unwrap().unwrap();
    }
}

pub fn staged(node: u64, text: &str, stage: StageId, size: u64) -> Ensure {
    Ensure {
        path: path(text),
        node: NodeId::new(node),
        kind: NodeKind::File,
        fresh: false,
        attrs: attrs(0o640),
        atime: super::D,
        size,
        content: Content::Staged(stage),
        xattrs: vec![(b"user.x".to_vec().into(), b"y".to_vec().into())],
        parent_mtime: Some(super::D),
    }
}

pub fn place(node: u64, text: &str, stage: StageId, size: u64) -> Op {
    Op::Ensure(Box::new(staged(node, text, stage, size)))
}
