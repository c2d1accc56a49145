#!/bin/sh
# Uploads pictures for an editor, and prints their links, one a line, in the order of the paths.
#
# Enter the full path of this file in the editor:
# - Typora: Preferences, Image, Image Uploader: Custom Command. It passes the paths.
# - MarkText: Preferences, Image, Uploader: Command line script. It passes one path.
#   (With the uploader PicGo it calls `picgo u PATH`. A copy of this file may have that name.)
# - Obsidian, plugin Image auto upload: PicGo-Core path. It passes the word `upload`, then the paths.
#
# The program and config.json are beside this file, or two directories above it, as in the archive. A program on the
# PATH is found, too. The editor's own directory does not matter: a config.json there may be another program's.

here=$(dirname -- "$(readlink -f -- "$0")")
case $here in
*/docs/editors) here=${here%/docs/editors} ;;
esac

# An editor that is started from the desktop has a short PATH.
PATH=$here:$PATH:/usr/local/bin:/opt/homebrew/bin:$HOME/.local/bin:$HOME/.cargo/bin
program=$(command -v wx-upload) || {
  echo "error: $here/wx-upload: there is no such program" >&2
  exit 2
}
config=$here/config.json
if [ ! -e "$config" ]; then
  beside=$(dirname -- "$(readlink -f -- "$program")")/config.json
  if [ -e "$beside" ]; then config=$beside; fi
fi

# MarkText looks for the link behind these words.
if [ "$1" = u ]; then echo "[PicGo SUCCESS]:"; fi

# --unique: pictures in different articles often have the same name.
"$program" --quiet --format url --unique --config "$config" "$@"
status=$?

# Obsidian's plugin does not look at the exit status, but at these words.
if [ "$status" -ne 0 ] && [ "$1" = upload ]; then echo "PicGo ERROR"; fi
exit "$status"
