//! Discovery as a whole: the manager, files on a disk, and recorded exchanges of every mechanism.

mod clouds;
mod dns_server;
mod docker_socket;
mod docs;
mod jobs;
mod kubernetes;
mod replay;
mod replay_server;
mod settings;
mod stackit;
mod zookeeper;
mod zookeeper_server;
