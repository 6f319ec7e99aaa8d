//! For fuzz targets only (feature `fuzzing`): a mutated segment has to get past its checksums to be worth anything.

use crate::bytes::crc32c;

use super::table::{CHECKED, HEADER, MAGIC, VERSION, archive, unarchive};

/// Makes the lengths and checksums of a segment right again, as far as its header and its table can be found.
pub fn vouch(bytes: &mut [u8]) {
    let len = bytes.len() as u64;
    let Some((header, rest)) = bytes.split_at_mut_checked(HEADER) else { return };
    let table_len = u32::from_le_bytes([header[12], header[13], header[14], header[15]]) as usize;
    let Some(archived) = rest.get(..table_len) else { return };
    // A table that cannot be read, or that grows, stays as it is.
    let vouched = unarchive(archived).and_then(|mut table| {
        for section in &mut table.sections {
            let (at, end) = (section.at.checked_sub(HEADER as u64), section.at.checked_add(section.len));
            let place = at.zip(end).and_then(|(at, end)| rest.get(at as usize..(end as usize).checked_sub(HEADER)?));
            section.crc = place.map_or(section.crc, crc32c);
        }
        archive(&table)
    });
    if let Ok(table) = vouched
        && table.len() == table_len
    {
        rest[..table_len].copy_from_slice(&table);
    }
    header[..8].copy_from_slice(&MAGIC.to_le_bytes());
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&len.to_le_bytes());
    header[24..CHECKED].copy_from_slice(&crc32c(&rest[..table_len]).to_le_bytes());
    let sum = crc32c(&header[..CHECKED]);
    header[CHECKED..CHECKED + 4].copy_from_slice(&sum.to_le_bytes());
}
