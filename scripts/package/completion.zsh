#compdef zproxy
# zsh completion for zproxy. The commands are those that `zproxy help` has.
if ((CURRENT == 2)); then
	local -a commands
	commands=(${(f)"$(zproxy help 2>/dev/null | sed -n 's/^  zproxy \([a-z]\{1,\}\).*/\1/p')"})
	compadd -- $commands
else
	case $words[2] in
	tune) compadd -- check apply revert ;;
	convert) ((CURRENT == 3)) && compadd -- nginx haproxy || _files ;;
	*) compadd -- -c; _files ;;
	esac
fi
