//! What makes a valid stream nearly right: of the sequence, of a packet, of any bytes.

use super::requests::odd;
use crate::harness::Dice;

/// Bends the sequence, or one packet in it.
pub fn bend(dice: &mut Dice, packets: &mut Vec<Vec<u8>>) {
    let count = packets.len() as u64;
    if count == 0 {
        return;
    }
    let (one, other) = (dice.within(0..count) as usize, dice.within(0..count) as usize);
    match dice.within(0..12) {
        0 => packets.swap(one, other),
        1 => packets.insert(other, packets[one].clone()),
        2 => drop(packets.remove(one)),
        // The same again and again.
        3 => {
            let times = if packets[one].len() < 5_000 { dice.within(2..300) as usize } else { 3 };
            packets[one] = packets[one].repeat(times);
        }
        // Any type.
        4 => packets[one][4] = dice.within(0..256) as u8,
        // A length that is off by a little, or by much.
        5 => {
            let length = (packets[one].len() as u32 - 4).wrapping_add(dice.within(0..9) as u32).wrapping_sub(4);
            packets[one][..4].copy_from_slice(&length.to_be_bytes());
        }
        6 => packets[one][..4].copy_from_slice(&(odd(dice) as u32).to_be_bytes()),
        // The beginning of one and the end of another, with a true length or not.
        7 | 8 => {
            let (head, tail) = (packets[one].clone(), packets[other].clone());
            let cut = dice.within(5..head.len().max(6) as u64) as usize;
            let from = dice.within(4..tail.len() as u64) as usize;
            let mut joined = [&head[..cut.min(head.len())], &tail[from..]].concat();
            if dice.within(0..4) > 0 {
                let length = joined.len() as u32 - 4;
                joined[..4].copy_from_slice(&length.to_be_bytes());
            }
            packets[one] = joined;
        }
        // Fields that end early or late, in a packet of true length.
        9 => {
            let keep = dice.within(5..packets[one].len().max(6) as u64) as usize;
            packets[one].truncate(keep);
            retold(&mut packets[one]);
        }
        10 => {
            let more = dice.within(1..300);
            packets[one].extend((0..more).map(|_| dice.within(0..256) as u8));
            retold(&mut packets[one]);
        }
        // Random bytes in its first field, which is a name or a handle more often than not.
        _ => {
            for at in 13..packets[one].len().min(21) {
                if dice.within(0..2) == 0 {
                    packets[one][at] = dice.within(0..256) as u8;
                }
            }
        }
    }
}

fn retold(packet: &mut [u8]) {
    let length = packet.len() as u32 - 4;
    packet[..4].copy_from_slice(&length.to_be_bytes());
}

/// Bends the stream, whatever stands in it.
pub fn bend_bytes(dice: &mut Dice, bytes: &mut Vec<u8>) {
    if bytes.len() < 16 {
        return;
    }
    let at = dice.within(0..bytes.len() as u64 - 8) as usize;
    match dice.within(0..8) {
        0..3 => bytes[at] ^= 1 << dice.within(0..8),
        3 => bytes[at..at + 4].copy_from_slice(&(odd(dice) as u32).to_be_bytes()),
        4 => bytes[at..at + 8].copy_from_slice(&odd(dice).to_be_bytes()),
        5 => bytes.truncate(at),
        6 => drop(bytes.drain(at..at + dice.within(1..8) as usize)),
        _ => {
            let noise: Vec<u8> = (0..dice.within(1..40)).map(|_| dice.within(0..256) as u8).collect();
            bytes.splice(at..at, noise);
        }
    }
}
