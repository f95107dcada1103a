#!/bin/sh
# The network of an instance, in mount, network and pid namespaces of its own: the metadata service is one hop away, and the network
# namespace "box" another, behind a bridge. The answer goes as many hops as /run/hops says. What is left is a bash on the instance.
set -eu
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/netns
echo 1 >/run/hops
ip link set lo up
ip link add bridge0 type bridge
ip address add 172.30.0.1/24 dev bridge0
ip link set bridge0 up
echo 1 >/proc/sys/net/ipv4/ip_forward
# peer NAME ADDRESS ROUTER: a network namespace, whose eth0 is this side's NAME.
peer() {
  ip netns add "$1"
  ip link add "$1" type veth peer name eth0 netns "$1"
  ip link set "$1" up
  ip -n "$1" address add "$2/24" dev eth0
  ip -n "$1" link set eth0 up
  ip -n "$1" route add default via "$3"
}
peer metadata 169.254.169.254 169.254.169.1
ip address add 169.254.169.1/24 dev metadata
peer box 172.30.0.2 172.30.0.1
ip link set box master bridge0
ip netns exec metadata python3 -c '
import socket
server = socket.create_server(("169.254.169.254", 80))
while True:
    connection, _ = server.accept()
    connection.recv(4096)
    connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(open("/run/hops").read()))
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\ntoken")
    connection.close()
' </dev/null &
exec /bin/bash --norc --noprofile
