# Whether the mount answers, asked for as long as it lives: by a shell, because one Node takes 10 MB to do it.
#
# Descriptor 3 is a view of the mount, 4 the channel (daemon/channel.ts). Whatever line comes is the one question, and is
# answered {"ok":true} when statfs(2) came back, which always reaches the server. Anything else it can't tell apart (an error of
# the mount, no stat(1), no memory): it ends with code 1, and one that can is started in its place (daemon/processes.ts).
trap '' USR1
while read -r _ <&4; do
  stat -f -- /proc/self/fd/3 >/dev/null 2>&1 4<&- || exit 1
  echo '{"ok":true}' >&4
done
