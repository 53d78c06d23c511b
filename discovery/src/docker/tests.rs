//! Unit tests of `docker`.

use super::*;

fn container(id: &str, mode: &str, networks: &[&str]) -> Container {
    Container {
        id: id.to_owned(),
        host_config: HostConfig {
            network_mode: mode.to_owned(),
        },
        network_settings: NetworkSettings {
            networks: networks
                .iter()
                .map(|name| {
                    let endpoint = Endpoint {
                        network_id: (*name).to_owned(),
                        ..Endpoint::default()
                    };
                    ((*name).to_owned(), Some(endpoint))
                })
                .collect(),
        },
        ..Container::default()
    }
}

#[test]
fn containers_that_share_each_others_network_in_a_circle_have_none() {
    let all = [
        container("a", "container:b", &[]),
        container("b", "container:a", &[]),
        container("c", "container:d", &[]),
        container("d", "bridge", &["west", "east"]),
    ];
    let by_id: HashMap<&str, &Container> = all.iter().map(|container| (&*container.id, container)).collect();
    let names = |at: usize, only_first| -> Vec<&str> {
        let endpoints = endpoints(&all[at], &by_id, only_first);
        endpoints
            .into_iter()
            .map(|endpoint| &*endpoint.network_id)
            .collect()
    };
    assert!(names(0, false).is_empty());
    assert_eq!(names(2, false), ["east", "west"]);
    assert_eq!(names(2, true), ["east"]);
}
