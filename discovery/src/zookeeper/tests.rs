//! Unit tests of `zookeeper`.

use super::*;

fn tree() -> ZooKeeper {
    let context = Context::new("test", Metrics::new(&metrics::Registry::new()));
    let resolver = context.surroundings.resolver.clone();
    ZooKeeper {
        servers: Servers::new(vec!["zk".to_owned()], resolver, TIMEOUT_MIN),
        paths: vec!["/".to_owned()],
        read: Nerve::read,
        nodes: BTreeMap::new(),
        round: 1,
        metrics: TreeMetrics::of(&context.metrics),
    }
}

#[test]
fn a_tree_has_a_largest_number_of_nodes() {
    let (mut tree, mut work) = (tree(), Work::default());
    for number in 0..NODES_MAX {
        tree.take_data(&format!("/{number}"), b"", &mut work)
            .expect("not too many");
    }
    tree.take_data("/0", b"changed", &mut work)
        .expect("known already");
    let error = tree.take_data("/more", b"", &mut work).expect_err("one too many");
    assert!(error.to_string().contains("more than 100000 nodes"), "{error}");
}

#[test]
fn what_is_below_a_node_goes_with_it() {
    let (mut tree, mut work) = (tree(), Work::default());
    for (path, children) in [("/", &["a", "b"][..]), ("/a", &["x"]), ("/b", &[]), ("/a/x", &[])] {
        tree.take_data(path, b"{}", &mut work).expect("few");
        tree.take_children(
            path,
            children.iter().map(|name| (*name).to_owned()).collect(),
            &mut work,
        );
    }
    assert_eq!(work.todo, ["/a", "/b", "/a/x"]);
    assert_eq!(work.groups.len(), 4, "each is a member");
    work.groups.clear();
    tree.take_children("/", vec!["b".to_owned()], &mut work);
    let gone: Vec<&str> = work.groups.iter().map(|group| &*group.source).collect();
    assert_eq!(gone, ["/a", "/a/x"]);
    assert!(work.groups.iter().all(|group| group.targets.is_empty()));
}

#[test]
fn data_that_is_no_member_takes_a_target_back_once() {
    let (mut tree, mut work) = (tree(), Work::default());
    for data in [&b"{\"host\": \"h\"}"[..], b"garbage", b"[]", b""] {
        tree.take_data("/a", data, &mut work).expect("few");
    }
    let counts: Vec<usize> = work.groups.iter().map(|group| group.targets.len()).collect();
    assert_eq!(counts, [1, 0]);
}
