#!/bin/sh
# Uploads pictures for an editor, and prints their links, one a line, in the order of the paths.
#
# Enter the full path of this file in the editor. The path must have no blanks, as many editors pass it to a shell
# without quotes. The manual's chapter "Editors" has the exact line for each program.
# - Typora, MarkText's command line script, ksnip, Vim and Emacs pass the paths alone. They take standard output for links.
# - Programs that know PicGo pass the word `upload` or `u` first. After `upload` they want bare links, after `u` the line
#   `[PicGo SUCCESS]:` before them, and after both `[PicGo ERROR]: REASON` for a failure, all on standard output. Without a
#   path, the word means the picture in the clipboard.
#
# The program and config.json are beside this file, or two directories above it, as in the archive. A program on the
# PATH is found, too. The editor's own directory does not matter: a config.json there may be another program's.

here=$(dirname -- "$(readlink -f -- "$0")")
case $here in
*/docs/editors) here=${here%/docs/editors} ;;
esac

# An editor that is started from the desktop has a short PATH.
PATH=$here:$PATH:/usr/local/bin:/opt/homebrew/bin:$HOME/.local/bin:$HOME/.cargo/bin

# ---- What the user sees --------------------------------------------------------------------------

# Prints one of two texts, the one in the user's language, as the program does.
either() {
  case ${WX_LANG:-${LC_ALL:-${LC_MESSAGES:-$LANG}}} in
  [Zz][Hh]*) printf '%s' "$2" ;;
  *) printf '%s' "$1" ;;
  esac
}

# fail STATUS REASON: ends the script. After a word, the reason is on standard output, where the editor looks. It is on
# standard error in any case: MarkText shows that, and Typora takes standard output for links.
fail() {
  if [ -n "$word" ]; then printf '[PicGo ERROR]: %s\n' "$2"; fi
  printf 'error: %s\n' "$2" >&2
  exit "$1"
}

# ---- The arguments -------------------------------------------------------------------------------

word=
has_path=
is_value=
for argument; do
  shift
  if [ -n "$is_value" ]; then
    is_value=
  else
    case $argument in
    # The next argument is the option's value. The word can stand behind such options.
    -c | --config | -t | --to | -x | --exclude | -j | --jobs | -f | --format) is_value=yes ;;
    --manifest | --retries | --timeout) is_value=yes ;;
    -*) ;;
    u | upload)
      if [ -z "$word$has_path" ]; then
        word=$argument
        continue
      fi
      ;;
    *) has_path=yes ;;
    esac
    case $argument in
    -* | /* | *://*) ;;
    */*)
      # Obsidian's plugin drops the first slash of some paths, and starts this in the user's home.
      root=/${argument%%/*}
      if [ ! -e "$argument" ] && [ -d "$root" ] && [ ! -d "/$argument" ]; then argument=/$argument; fi
      ;;
    esac
  fi
  set -- "$@" "$argument"
done

# ---- The program and the config ------------------------------------------------------------------

program=$(command -v wx-upload)
if [ ! -x "$program" ]; then
  file=$here/wx-upload
  if [ -f "$file" ]; then
    fail 2 "$(either "$file: it may not be started: chmod +x '$file'" "$file：没有执行权限：chmod +x '$file'")"
  fi
  fail 2 "$(either "$file: there is no such program" "$file：没有这个程序")"
fi
config=$here/config.json
if [ ! -e "$config" ]; then
  beside=$(dirname -- "$(readlink -f -- "$program")")/config.json
  if [ -e "$beside" ]; then config=$beside; fi
fi

# ---- The clipboard -------------------------------------------------------------------------------

# save_clipboard FILE: writes the picture in the clipboard to the file. Each system has its own tool. One that is there
# need not work: on a desktop with X11, wl-paste finds no clipboard.
save_clipboard() {
  wl-paste --no-newline --type image/png >"$1" && [ -s "$1" ] && return
  xclip -selection clipboard -t image/png -o >"$1" && [ -s "$1" ] && return
  pngpaste "$1" && [ -s "$1" ]
}

if [ -n "$word" ] && [ -z "$has_path" ]; then
  if ! tool=$(command -v wl-paste || command -v xclip || command -v pngpaste); then
    fail 2 "$(either \
      'to upload from the clipboard, install wl-clipboard (Wayland), xclip (X11) or pngpaste (macOS)' \
      '要上传剪贴板中的图片，请安装 wl-clipboard（Wayland）、xclip（X11）或 pngpaste（macOS）')"
  fi
  # Only the user can read the picture, and it goes however the script ends.
  umask 077
  private=$(mktemp -d "${TMPDIR:-/tmp}/wx-upload.XXXXXX") ||
    fail 2 "$(either 'there is no room for a temporary file' '无法建立临时文件')"
  trap 'rm -rf -- "$private"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  if ! save_clipboard "$private/clipboard.png" 2>"$private/errors"; then
    fail 2 "$(either "there is no picture in the clipboard (${tool##*/})" "剪贴板中没有图片（${tool##*/}）")"
  fi
  set -- "$@" "$private/clipboard.png"
fi

# ---- The run -------------------------------------------------------------------------------------

# Both outputs are kept until the program has ended: first the messages, then the mark, then the links. So nothing that
# an editor takes for a link stands before a failure, and no warning beside links: ksnip would drop them, and MarkText
# would take it for a part of them.
# --unique: pictures in different articles often have the same name.
mark='---- links ----'
newline='
'
output=$(
  {
    links=$("$program" --quiet --format url --unique --config "$config" "$@" 2>&3 3>&-)
    status=$?
    printf '%s\n%s' "$mark" "$links"
    exit "$status"
  } 3>&1 2>/dev/null # some shells tell there that a program was killed
)
status=$?
messages=${output%%"$mark"*}
links=${output#*"$mark$newline"}

if [ "$status" -eq 0 ]; then
  # In one piece: nvim-picgo looks for the word and the link in what it reads at once.
  if [ "$word" = u ]; then links="[PicGo SUCCESS]:$newline$links"; fi
  printf '%s\n' "$links"
  exit
fi
reason=${messages#*error: }
reason=${reason%"$newline"}
if [ -z "$reason" ]; then
  reason=$(either "$program: it ended with status $status" "$program：已退出，退出码为 $status")
fi
if [ "$status" -gt 128 ]; then
  reason="$reason ($(either "killed by signal $((status - 128))" "被信号 $((status - 128)) 终止"))"
fi
fail "$status" "$reason"
