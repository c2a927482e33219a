give "$DEP_flannel" flanneld; give "$DEP_cni" flannel; cp /bin/busybox "$OUT/"
printf 'FROM %s\nCOPY flanneld /opt/bin/flanneld\nENTRYPOINT ["/opt/bin/flanneld"]\n' "$I_tools" | image "$I_flannel"
printf 'FROM scratch\nCOPY flannel /flannel\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox","--install","/bin"]\n' | image "$I_flannel_cni"
