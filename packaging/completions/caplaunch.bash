# Made by go test ./cmd/caplaunch -run ManPage -update
_caplaunch() {
	local cur=$2 prev=$3 command=run list='' i
	# Bash takes --flag=value and user:group for three words each.
	case $cur in
	= | :) cur='' prev=${COMP_WORDS[COMP_CWORD - 1]} ;;
	esac
	[[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD - 2]}
	[[ $cur == '' && ${COMP_WORDS[COMP_CWORD]} == = ]] && prev=${COMP_WORDS[COMP_CWORD - 1]}
	for ((i = 1; i < COMP_CWORD; i++)); do
		if [[ ${COMP_WORDS[i]} == -- ]]; then
			if ((i + 1 == COMP_CWORD)); then
				mapfile -t COMPREPLY < <(compgen -c -- "$cur")
			else
				compopt -o default
				COMPREPLY=()
			fi
			return
		fi
	done
	case ${COMP_WORDS[1]} in
	run | explain | check | show | install | version) ((COMP_CWORD > 1)) && command=${COMP_WORDS[1]} ;;
	esac
	case $command/$prev in
	run/-c | run/--caps) list='all chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore' ;;
	run/-o | run/--optional-caps) list='all chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore' ;;
	run/--bounding) mapfile -t COMPREPLY < <(compgen -W 'keep drop try' -- "$cur"); return ;;
	run/-u | run/--user) mapfile -t COMPREPLY < <(compgen -u -- "$cur"); return ;;
	run/--groups) list=$(compgen -g) ;;
	run/--non-root) mapfile -t COMPREPLY < <(compgen -W 'refuse keep' -- "$cur"); return ;;
	run/--allow) list='all chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore' ;;
	run/--sets) list='permitted effective inheritable ambient bounding' ;;
	run/--ignore-signals) list='HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS' ;;
	run/--stdio) mapfile -t COMPREPLY < <(compgen -W 'auto keep' -- "$cur"); return ;;
	run/--log-format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur"); return ;;
	explain/-c | explain/--caps) list='all chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore' ;;
	explain/-o | explain/--optional-caps) list='all chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore' ;;
	explain/--bounding) mapfile -t COMPREPLY < <(compgen -W 'keep drop try' -- "$cur"); return ;;
	explain/-u | explain/--user) mapfile -t COMPREPLY < <(compgen -u -- "$cur"); return ;;
	explain/--groups) list=$(compgen -g) ;;
	explain/--non-root) mapfile -t COMPREPLY < <(compgen -W 'refuse keep' -- "$cur"); return ;;
	explain/--allow) list='all chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore' ;;
	explain/--sets) list='permitted effective inheritable ambient bounding' ;;
	explain/--ignore-signals) list='HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS' ;;
	explain/--stdio) mapfile -t COMPREPLY < <(compgen -W 'auto keep' -- "$cur"); return ;;
	explain/--log-format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur"); return ;;
	explain/--for) mapfile -t COMPREPLY < <(compgen -W 'docker podman compose kubernetes systemd' -- "$cur"); return ;;
	check/--log-format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur"); return ;;
	check/--allow) list='all chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore' ;;
	check/--sets) list='permitted effective inheritable ambient bounding' ;;
	check/--pid) mapfile -t COMPREPLY < <(cd /proc && compgen -d -X '![0-9]*' -- "$cur"); return ;;
	show/--log-format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur"); return ;;
	install/--log-format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur"); return ;;
	*/:) mapfile -t COMPREPLY < <(compgen -g -- "$cur"); return ;;
	esac
	if [[ $list ]]; then
		local before=''
		[[ $cur == *,* ]] && before=${cur%,*},
		mapfile -t COMPREPLY < <(compgen -P "$before" -W "$list" -- "${cur##*,}")
		compopt -o nospace
		return
	fi
	case $command in
	run) list='-c --caps -o --optional-caps --bounding --allow-new-privs --strip-file-caps -u --user --groups --keep-groups --non-root --keep-env --allow --strict --sets --ignore-signals --stdio -q --quiet -v --verbose --log-format -- --help'; ((COMP_CWORD == 1)) && list+=' run explain check show install version' ;;
	explain) list='-c --caps -o --optional-caps --bounding --allow-new-privs --strip-file-caps -u --user --groups --keep-groups --non-root --keep-env --allow --strict --sets --ignore-signals --stdio -q --quiet -v --verbose --log-format --for --json -- --help'; ;;
	check) list='--log-format --allow --sets --pid --json --help'; ;;
	show) list='--log-format --json --help'; ;;
	install) list='--log-format --help'; compopt -o default ;;
	version) list='-v --verbose --json --help'; ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$list" -- "$cur")
}
complete -F _caplaunch caplaunch
