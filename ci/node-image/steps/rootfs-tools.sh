slim=(--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*')
mmdebstrap -q --variant=essential "${slim[@]}" --include=iptables,nftables,conntrack,ipset,kmod,curl,iproute2,netcat-openbsd,bind9-dnsutils,ca-certificates "$V_debian" "$OUT/tools.tar"
