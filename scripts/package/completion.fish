# fish completion for zproxy. The commands are those that `zproxy help` has.
complete -c zproxy -n __fish_use_subcommand -f -a "(zproxy help 2>/dev/null | sed -n 's/^  zproxy \([a-z]\{1,\}\).*/\1/p')"
complete -c zproxy -n "not __fish_use_subcommand" -s c -r -d "configuration file"
complete -c zproxy -n "__fish_seen_subcommand_from tune" -f -a "check apply revert"
complete -c zproxy -n "__fish_seen_subcommand_from convert" -a "nginx haproxy"
