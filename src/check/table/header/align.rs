//! The longest run of labels that two lists have in common, in order: what tells a lost label from a wrong one.
//!
//! Bounded: lists too long to compare all with all are compared place by place. Called by `header`.

/// Pairs that are compared at most, 4 bytes each.
const PAIRS: usize = 1 << 21;

/// One step along both lists, in the order of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A name, and the label in its place, which may be another.
    Pair(usize, usize),
    /// A name without a label.
    Name(usize),
    /// A label without a name.
    Label(usize),
}

/// Letters and digits alone, without case: labels that are equal so were meant to be.
pub(in crate::check::table) fn folded(label: &str) -> String {
    label.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

pub(super) fn steps(names: &[&str], labels: &[&str]) -> Vec<Step> {
    let head = names.iter().zip(labels).take_while(|(name, label)| name == label).count();
    let (names_left, labels_left) = (&names[head..], &labels[head..]);
    let tail = names_left.iter().rev().zip(labels_left.iter().rev()).take_while(|(name, label)| name == label).count();
    let (name_end, label_end) = (names.len() - tail, labels.len() - tail);

    let mut steps: Vec<Step> = (0..head).map(|place| Step::Pair(place, place)).collect();
    let mut pairs = common(&names[head..name_end], &labels[head..label_end]);
    pairs.push((name_end - head, label_end - head));
    let (mut name, mut label) = (head, head);
    for (next_name, next_label) in pairs {
        let (next_name, next_label) = (next_name + head, next_label + head);
        while name < next_name && label < next_label {
            steps.push(Step::Pair(name, label));
            (name, label) = (name + 1, label + 1);
        }
        steps.extend((name..next_name).map(Step::Name));
        steps.extend((label..next_label).map(Step::Label));
        if next_name < name_end {
            steps.push(Step::Pair(next_name, next_label));
        }
        (name, label) = (next_name + 1, next_label + 1);
    }
    steps.extend((0..tail).map(|place| Step::Pair(name_end + place, label_end + place)));
    steps
}

/// Indices of the pairs that belong together: equal ones count twice as much as those that are equal when folded.
fn common(names: &[&str], labels: &[&str]) -> Vec<(usize, usize)> {
    let (rows, columns) = (names.len(), labels.len());
    if (rows + 1).saturating_mul(columns + 1) > PAIRS {
        return (0..rows.min(columns)).filter(|place| names[*place] == labels[*place]).map(|at| (at, at)).collect();
    }
    let fold = |list: &[&str]| -> Vec<String> { list.iter().map(|label| folded(label)).collect() };
    let (folded_names, folded_labels) = (fold(names), fold(labels));
    let weight = |name: usize, label: usize| match () {
        () if names[name] == labels[label] => 2,
        () if !folded_names[name].is_empty() && folded_names[name] == folded_labels[label] => 1,
        () => 0,
    };
    // best[i][j]: the most that names from i and labels from j on have in common.
    let width = columns + 1;
    let mut best = vec![0u32; (rows + 1) * width];
    for name in (0..rows).rev() {
        for label in (0..columns).rev() {
            let with = match weight(name, label) {
                0 => 0,
                weight => weight + best[(name + 1) * width + label + 1],
            };
            let without = best[(name + 1) * width + label].max(best[name * width + label + 1]);
            best[name * width + label] = with.max(without);
        }
    }
    let mut pairs = Vec::new();
    let (mut name, mut label) = (0, 0);
    while name < rows && label < columns {
        let here = best[name * width + label];
        let weight = weight(name, label);
        if weight > 0 && here == weight + best[(name + 1) * width + label + 1] {
            pairs.push((name, label));
            (name, label) = (name + 1, label + 1);
        } else if here == best[(name + 1) * width + label] {
            name += 1;
        } else {
            label += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_surplus_and_wrong_labels_are_told_apart() {
        use Step::{Label, Name, Pair};
        let names = ["a", "b", "c", "d"];
        assert_eq!(steps(&names, &["a", "b", "c", "d"]), [Pair(0, 0), Pair(1, 1), Pair(2, 2), Pair(3, 3)]);
        assert_eq!(steps(&names, &["a", "c", "d"]), [Pair(0, 0), Name(1), Pair(2, 1), Pair(3, 2)]);
        assert_eq!(steps(&names, &["x", "a", "b", "c", "d"])[..2], [Label(0), Pair(0, 1)]);
        assert_eq!(steps(&names, &["a", "x", "c", "d"]), [Pair(0, 0), Pair(1, 1), Pair(2, 2), Pair(3, 3)]);
        assert_eq!(steps(&names, &["a", "b"]), [Pair(0, 0), Pair(1, 1), Name(2), Name(3)]);
        assert_eq!(steps(&names, &["x"]), [Pair(0, 0), Name(1), Name(2), Name(3)]);
        assert_eq!(steps(&names, &["x", "C"]), [Pair(0, 0), Name(1), Pair(2, 1), Name(3)]);
        assert_eq!(steps(&[], &["x"]), [Label(0)]);
    }

    #[test]
    fn lists_too_long_to_compare_are_compared_place_by_place() {
        let names: Vec<String> = (0..4000).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let labels: Vec<&str> = names.iter().rev().copied().collect();
        assert_eq!(steps(&names, &labels).len(), 4000);
    }
}
