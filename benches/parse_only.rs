//! The `csv` crate over a file, records only: no type, no constraint, no key. The floor for the checking benchmark.

use std::fs::File;
use std::io::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: parse_only FILE")?;
    let mut reader = csv::ReaderBuilder::new().buffer_capacity(256 << 10).from_reader(File::open(path)?);
    let mut record = csv::ByteRecord::new();
    let (mut rows, mut bytes) = (0u64, 0usize);
    while reader.read_byte_record(&mut record)? {
        rows += 1;
        bytes += record.as_slice().len();
    }
    writeln!(std::io::stdout(), "{{\"rows\": {rows}, \"bytes\": {bytes}}}")?;
    Ok(())
}
