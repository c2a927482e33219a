give "$DEP_local_path" local-path-provisioner; cp /bin/busybox "$OUT/"
printf 'FROM scratch\nCOPY local-path-provisioner /usr/bin/local-path-provisioner\nENTRYPOINT ["/usr/bin/local-path-provisioner"]\n' | image "$I_local_path"
printf 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox","--install","/bin"]\nENV PATH=/bin\n' | image "$I_local_path_helper"
