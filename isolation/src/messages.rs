//! Messages between a parent and its child: JSON with its length before it. Files follow a message as blocks of bytes,
//! each with its length before it.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most bytes of a block.
pub const BLOCK_BYTES: usize = 256 * 1024;

/// Length before the end of a file.
const END: u32 = 0;

/// Length that says that the rest of a file does not follow.
const ABANDONED: u32 = u32::MAX;

/// Sends a message of at most `longest` bytes.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for a longer message; else the other side is gone.
pub fn send(stream: &mut impl Write, message: &impl Serialize, longest: u32) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= longest);
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "the message is too long");
    let mut bytes = length.ok_or_else(too_long)?.to_le_bytes().to_vec();
    bytes.extend(json);
    stream.write_all(&bytes)
}

/// The next message, of at most `longest` bytes.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for what is no such message, [`io::ErrorKind::UnexpectedEof`] where the other side is
/// gone.
pub fn receive<T: DeserializeOwned>(stream: &mut impl Read, longest: u32) -> io::Result<T> {
    let length = next_length(stream)?;
    if length > longest {
        return Err(invalid("the message is too long"));
    }
    let mut json = Vec::new();
    // The memory grows with what comes, not with what is announced.
    if stream.take(u64::from(length)).read_to_end(&mut json)? < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&json).map_err(invalid)
}

/// Sends a block of a file.
///
/// # Errors
/// The other side is gone.
pub fn send_block(stream: &mut impl Write, block: &[u8]) -> io::Result<()> {
    for part in block.chunks(BLOCK_BYTES) {
        stream.write_all(&(part.len() as u32).to_le_bytes())?;
        stream.write_all(part)?;
    }
    Ok(())
}

/// Sends the end of a file; without `complete`, the file is worth nothing.
///
/// # Errors
/// The other side is gone.
pub fn send_end(stream: &mut impl Write, complete: bool) -> io::Result<()> {
    stream.write_all(&if complete { END } else { ABANDONED }.to_le_bytes())
}

/// Reads the blocks of a file as one.
#[derive(Debug)]
pub struct Blocks<'a, S> {
    stream: &'a mut S,
    /// Bytes of the current block that were not read yet.
    left: usize,
    state: BlocksState,
}

/// What a reader of blocks has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlocksState {
    Open,
    Complete,
    Abandoned,
}

impl<'a, S: Read> Blocks<'a, S> {
    /// The file that follows in `stream`.
    pub fn new(stream: &'a mut S) -> Self {
        Self { stream, left: 0, state: BlocksState::Open }
    }

    /// Whether the other side has given the file up.
    pub fn are_abandoned(&self) -> bool {
        self.state == BlocksState::Abandoned
    }
}

impl<S: Read> Read for Blocks<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 && self.state == BlocksState::Open {
            match next_length(self.stream)? {
                END => self.state = BlocksState::Complete,
                ABANDONED => self.state = BlocksState::Abandoned,
                length if length as usize <= BLOCK_BYTES => self.left = length as usize,
                _ => return Err(invalid("the block is too long")),
            }
        }
        match self.state {
            BlocksState::Open => {
                let most = buffer.len().min(self.left);
                let read = self.stream.read(&mut buffer[..most])?;
                if read == 0 && most > 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.left -= read;
                Ok(read)
            }
            BlocksState::Complete => Ok(0),
            BlocksState::Abandoned => Err(io::Error::other("the file was given up")),
        }
    }
}

fn next_length(stream: &mut impl Read) -> io::Result<u32> {
    let mut length = [0_u8; 4];
    stream.read_exact(&mut length)?;
    Ok(u32::from_le_bytes(length))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_bounded_on_both_sides() {
        let mut bytes = Vec::new();
        send(&mut bytes, &"text", 6).unwrap();
        assert_eq!(receive::<String>(&mut bytes.as_slice(), 6).unwrap(), "text");
        assert_eq!(send(&mut Vec::new(), &"text", 5).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(receive::<String>(&mut bytes.as_slice(), 5).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(receive::<u32>(&mut bytes.as_slice(), 6).unwrap_err().kind(), io::ErrorKind::InvalidData);
        // JSON that ends too early is no end of the socket.
        let cut = [&2_u32.to_le_bytes()[..], b"\"t"].concat();
        assert_eq!(receive::<String>(&mut cut.as_slice(), 6).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let announced = u32::MAX.to_le_bytes();
        let error = receive::<String>(&mut announced.as_slice(), u32::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn files_are_read_over_their_blocks() {
        let file: Vec<u8> = (0..600_000_u32).map(|at| at as u8).collect();
        let mut bytes = Vec::new();
        send_block(&mut bytes, &file).unwrap();
        send_end(&mut bytes, true).unwrap();
        bytes.extend(b"rest");
        let (mut stream, mut read) = (bytes.as_slice(), Vec::new());
        Blocks::new(&mut stream).read_to_end(&mut read).unwrap();
        assert!(read == file && stream == b"rest");
        let mut bytes = Vec::new();
        send_block(&mut bytes, b"part").unwrap();
        send_end(&mut bytes, false).unwrap();
        let mut stream = bytes.as_slice();
        let mut blocks = Blocks::new(&mut stream);
        assert!(blocks.read_to_end(&mut Vec::new()).is_err() && blocks.are_abandoned());
    }
}
