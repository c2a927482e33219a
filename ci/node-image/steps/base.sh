# kind's own files are read from its module; what a node does not start with is masked as kind does.
tree=$(module_folder "sigs.k8s.io/kind@$V_kind")
mkdir -p "$OUT"/{bin,sbin,cni}; cp -r --no-preserve=mode "$tree/images/base/files" "$OUT/files"; rm -rf "$OUT/files/LICENSES"
cp "$DEP_containerd"/{containerd,ctr,containerd-shim-runc-v2} "$OUT/bin/"; cp "$DEP_runc/runc" "$OUT/sbin/"
cp "$DEP_cni"/{bridge,ptp,loopback,host-local,portmap,flannel} "$OUT/cni/"; give "$DEP_rootfs_node" node.tar
image "$I_base" <<'DOCKERFILE'
FROM scratch
ADD node.tar /
COPY files/ /
COPY bin/ /usr/local/bin/
COPY sbin/ /usr/local/sbin/
COPY cni/ /opt/cni/bin/
RUN chmod 755 /kind /kind/bin /kind/bin/* /usr/local/bin/* /usr/local/sbin/* /opt/cni/bin/* \
 && find /lib/systemd/system/sysinit.target.wants/ -name systemd-tmpfiles-setup.service -delete \
 && rm -f /lib/systemd/system/multi-user.target.wants/* /etc/systemd/system/*.wants/* /lib/systemd/system/local-fs.target.wants/* /lib/systemd/system/sockets.target.wants/*udev* /lib/systemd/system/sockets.target.wants/*initctl* /lib/systemd/system/basic.target.wants/* \
 && echo ReadKMsg=no >> /etc/systemd/journald.conf && ln -sf /lib/systemd/systemd /sbin/init \
 && systemctl enable kubelet.service containerd.service undo-mount-hacks.service && systemctl mask systemd-binfmt.service && mkdir -p /etc/kubernetes/manifests \
 && ctr oci spec | jq '.hooks.createContainer += [{"path": "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' > /etc/containerd/cri-base.json
ENV container=docker
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]
DOCKERFILE
