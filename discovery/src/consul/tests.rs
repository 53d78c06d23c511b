//! Unit tests of `consul`.

use super::*;

fn checks(of: &[(&str, &str)]) -> Vec<Check> {
    let check = |&(id, status): &(&str, &str)| Check {
        id: id.to_owned(),
        status: status.to_owned(),
    };
    of.iter().map(check).collect()
}

#[test]
fn the_worst_check_counts_and_maintenance_beats_them_all() {
    for (of, expected) in [
        (&[][..], "passing"),
        (&[("a", "passing"), ("b", "warning")], "warning"),
        (&[("a", "critical"), ("b", "warning")], "critical"),
        (
            &[("a", "critical"), ("_node_maintenance", "critical")],
            "maintenance",
        ),
        (
            &[("_service_maintenance:web", "critical"), ("a", "passing")],
            "maintenance",
        ),
        (&[("a", "passing"), ("b", "sleeping")], ""),
    ] {
        assert_eq!(health(&checks(of)), expected, "{of:?}");
    }
}
