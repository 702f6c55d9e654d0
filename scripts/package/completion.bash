# bash completion for zproxy. The commands are those that `zproxy help` has.
_zproxy() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "$(zproxy help 2>/dev/null | sed -n 's/^  zproxy \([a-z]\{1,\}\).*/\1/p')" -- "$word")
	elif [[ $before == -c || $before == -with || $before == -pid ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
	else
		case ${COMP_WORDS[1]} in
		tune) mapfile -t COMPREPLY < <(compgen -W "check apply revert" -- "$word") ;;
		convert) mapfile -t COMPREPLY < <(compgen -W "nginx haproxy" -f -- "$word") ;;
		*) mapfile -t COMPREPLY < <(compgen -W "-c" -f -- "$word") ;;
		esac
	fi
}
complete -o filenames -F _zproxy zproxy
