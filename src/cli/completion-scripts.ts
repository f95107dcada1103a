/**
 * What a shell loads to complete `secretsfs`. They know nothing by themselves: they hand the words to `secretsfs completion words`
 * (completions.ts) and add names of files where its first line says so. So one that is installed stays right when the program changes.
 */

/** Bash 4.4 or newer. It takes words apart at = and :, which values have in them; and puts in only what follows the last of those. */
const BASH = `# bash completion of secretsfs: for /usr/share/bash-completion/completions/secretsfs, or to be sourced
_secretsfs() {
  local line=$COMP_LINE breaks= keep= word i
  local -a typed=() lines=()
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if ((i > 1)) && [[ -n $word && $line != [[:blank:]]* ]]; then
      typed[-1]+=$word
    else
      typed+=("$word")
    fi
    line=\${line#*"$word"}
  done
  word=\${typed[-1]}
  [[ $COMP_WORDBREAKS != *=* ]] || breaks+='='
  [[ $COMP_WORDBREAKS != *:* ]] || breaks+=':'
  [[ -z $breaks ]] || keep=\${word%"\${word##*[$breaks]}"}
  mapfile -t lines < <("$1" completion words -- "\${typed[@]:1}" 2>/dev/null)
  COMPREPLY=()
  for line in "\${lines[@]:2}"; do
    line=\${line%%$'\\t'*}
    line=\${line#"$keep"}
    [[ $line != *[=:] ]] || compopt -o nospace
    printf -v line %q "$line"
    COMPREPLY+=("$line")
  done
  # Where there is no candidate: what readline does by itself.
  case \${lines[0]} in
    any) compopt -o default ;;
    directories) compopt -o dirnames ;;
  esac
}
complete -F _secretsfs secretsfs
`;

const ZSH = `#compdef secretsfs
# zsh completion of secretsfs: for a directory in fpath, as _secretsfs, or to be sourced after compinit
_secretsfs() {
  local -a lines values suffix
  local line value result=1
  lines=("\${(@f)$("\${(Q)words[1]}" completion words -- "\${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
  for line in "\${(@)lines[3,-1]}"; do
    value=\${line%%$'\\t'*}
    [[ $value == *[=:] ]] && suffix=(-S '')
    values+=("\${value//:/\\\\:}:\${line#*$'\\t'}")
  done
  (( $#values )) && _describe -V secretsfs values "\${(@)suffix}" && result=0
  [[ -n $lines[2] ]] && compset -P "\${(b)lines[2]}"
  case $lines[1] in
    any) _files && result=0 ;;
    directories) _path_files -/ && result=0 ;;
  esac
  return result
}
if [[ $funcstack[1] == _secretsfs ]]; then
  _secretsfs "$@"
else
  compdef _secretsfs secretsfs
fi
`;

const FISH = `# fish completion of secretsfs: for a directory in fish_complete_path, as secretsfs.fish, or to be sourced
function __secretsfs_complete
    set -l typed (commandline -opc)
    set -l current (commandline -ct)
    set -l lines ($typed[1] completion words -- $typed[2..-1] "$current" 2>/dev/null)
    set -q lines[3]; and printf '%s\\n' $lines[3..-1]
    set -l prefix $lines[2]
    set -l rest (string sub -s (math (string length -- "$prefix") + 1) -- "$current")
    switch "$lines[1]"
        case any
            string replace -r '^' -- "$prefix" (__fish_complete_path "$rest")
        case directories
            string replace -r '^' -- "$prefix" (__fish_complete_directories "$rest")
    end
end
complete -c secretsfs -f -k -a '(__secretsfs_complete)'
`;

export const SCRIPTS = { bash: BASH, zsh: ZSH, fish: FISH } as const;
