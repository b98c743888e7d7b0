//! Encoded packets in a scratch file, so that memory does not grow with the length of a segment.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use ffmpeg_next::Packet;
use ffmpeg_next::packet::Flags;

use crate::error::MediaError;

const BUFFER_BYTES: usize = 1 << 16;

/// A time that a packet does not have, as it is written.
const NO_TIME: i64 = i64::MIN;

/// A file for reading and writing that has no name: it is removed from its folder at once and goes when it is closed,
/// however this process ends. `path` is where it is created.
pub(crate) fn unnamed_file(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// Writes packets to a scratch file: times, flags and data, without side data.
pub(crate) struct PacketWriter {
    file: BufWriter<File>,
    path: PathBuf,
}

impl PacketWriter {
    /// An empty scratch file in the folder of `path`.
    pub(crate) fn create(path: &Path) -> Result<Self, MediaError> {
        let path = path.with_extension("packets");
        let file = unnamed_file(&path).map_err(|source| MediaError::Write { path: path.clone(), source })?;
        Ok(Self { file: BufWriter::with_capacity(BUFFER_BYTES, file), path })
    }

    /// Appends a packet.
    pub(crate) fn push(&mut self, packet: &Packet) -> Result<(), MediaError> {
        let data = packet.data().unwrap_or_default();
        let times = [packet.pts(), packet.dts()].map(|time| time.unwrap_or(NO_TIME).to_le_bytes());
        let rest = [packet.flags().bits().to_le_bytes(), (data.len() as u32).to_le_bytes()];
        [times.as_flattened(), rest.as_flattened(), data]
            .into_iter()
            .try_for_each(|bytes| self.file.write_all(bytes))
            .map_err(|source| MediaError::Write { path: self.path.clone(), source })
    }

    /// Ends writing and reads the packets from the first.
    pub(crate) fn into_reader(self) -> Result<PacketReader, MediaError> {
        let Self { file, path } = self;
        let rewound = file.into_inner().map_err(|error| error.into_error()).and_then(|mut file| {
            file.rewind()?;
            Ok(file)
        });
        let file = rewound.map_err(|source| MediaError::Write { path: path.clone(), source })?;
        Ok(PacketReader { file: BufReader::with_capacity(BUFFER_BYTES, file), path })
    }
}

/// Reads packets back in their order.
pub(crate) struct PacketReader {
    file: BufReader<File>,
    path: PathBuf,
}

impl PacketReader {
    /// The next packet; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Packet>, MediaError> {
        self.read().map_err(|source| MediaError::Open { path: self.path.clone(), source })
    }

    fn read(&mut self) -> io::Result<Option<Packet>> {
        let mut pts = [0; 8];
        match self.file.read_exact(&mut pts) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let (mut dts, mut flags, mut length) = ([0; 8], [0; 4], [0; 4]);
        self.file.read_exact(&mut dts)?;
        self.file.read_exact(&mut flags)?;
        self.file.read_exact(&mut length)?;
        let mut packet = Packet::new(u32::from_le_bytes(length) as usize);
        if let Some(data) = packet.data_mut() {
            self.file.read_exact(data)?;
        }
        let time = |bytes| Some(i64::from_le_bytes(bytes)).filter(|time| *time != NO_TIME);
        packet.set_pts(time(pts));
        packet.set_dts(time(dts));
        packet.set_flags(Flags::from_bits_truncate(i32::from_le_bytes(flags)));
        Ok(Some(packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_back_as_they_were_and_no_file_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = PacketWriter::create(&folder.path().join("a.webm")).unwrap();
        for number in 0..300_i64 {
            let mut packet = Packet::copy(&vec![number as u8; number as usize * 7]);
            packet.set_pts((number % 3 != 0).then_some(number));
            packet.set_dts(Some(number - 2));
            packet.set_flags(if number % 10 == 0 { Flags::KEY } else { Flags::empty() });
            writer.push(&packet).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut reader = writer.into_reader().unwrap();
        for number in 0..300_i64 {
            let packet = reader.next().unwrap().unwrap();
            assert_eq!(packet.data().unwrap_or_default(), vec![number as u8; number as usize * 7]);
            assert_eq!((packet.pts(), packet.dts()), ((number % 3 != 0).then_some(number), Some(number - 2)));
            assert_eq!(packet.is_key(), number % 10 == 0);
        }
        assert!(reader.next().unwrap().is_none());
    }
}
