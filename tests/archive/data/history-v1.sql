BEGIN TRANSACTION;
CREATE TABLE binary_publications (
	id INTEGER NOT NULL, 
	series_id INTEGER NOT NULL, 
	index_architecture VARCHAR(32) NOT NULL, 
	release_id INTEGER NOT NULL, 
	package VARCHAR(128) NOT NULL, 
	version VARCHAR(255) NOT NULL, 
	architecture VARCHAR(32) NOT NULL, 
	source VARCHAR(128) NOT NULL, 
	source_version VARCHAR(255) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	created_at DOUBLE NOT NULL, 
	created_by TEXT NOT NULL, 
	why TEXT NOT NULL, 
	copied_from_id INTEGER, 
	published_at DOUBLE, 
	ended_at DOUBLE, 
	ended_by TEXT, 
	end_why TEXT, 
	superseded_by_id INTEGER, 
	PRIMARY KEY (id), 
	FOREIGN KEY(series_id) REFERENCES series (id), 
	FOREIGN KEY(release_id) REFERENCES binary_releases (id), 
	FOREIGN KEY(copied_from_id) REFERENCES binary_publications (id), 
	FOREIGN KEY(superseded_by_id) REFERENCES binary_publications (id)
);
INSERT INTO "binary_publications" VALUES(1,1,'amd64',1,'hello-data','1.0-1','all','hello','1.0-1','Superseded',1790000120.0,'worker-1','built on amd64 from hello 1.0-1',NULL,1790000120.0,1790000240.0,'worker-1','hello 1.1-1 has come',3);
INSERT INTO "binary_publications" VALUES(2,1,'amd64',2,'hello','1.0-1','amd64','hello','1.0-1','Superseded',1790000120.0,'worker-1','built on amd64 from hello 1.0-1',NULL,1790000120.0,1790000240.0,'worker-1','hello 1.1-1 has come',4);
INSERT INTO "binary_publications" VALUES(3,1,'amd64',3,'hello-data','1.1-1','all','hello','1.1-1','Published',1790000240.0,'worker-1','built on amd64 from hello 1.1-1',NULL,1790000240.0,NULL,NULL,NULL,NULL);
INSERT INTO "binary_publications" VALUES(4,1,'amd64',4,'hello','1.1-1','amd64','hello','1.1-1','Published',1790000240.0,'worker-1','built on amd64 from hello 1.1-1',NULL,1790000240.0,NULL,NULL,NULL,NULL);
CREATE TABLE binary_releases (
	id INTEGER NOT NULL, 
	source_release_id INTEGER NOT NULL, 
	package VARCHAR(128) NOT NULL, 
	version VARCHAR(255) NOT NULL, 
	architecture VARCHAR(32) NOT NULL, 
	file_name VARCHAR(255) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	stanza TEXT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(source_release_id) REFERENCES source_releases (id), 
	FOREIGN KEY(sha256) REFERENCES files (sha256)
);
INSERT INTO "binary_releases" VALUES(1,1,'hello-data','1.0-1','all','hello-data_1.0-1_all.deb','ea0e04c3b28c6d4f9534f6f9d47e8f4e86f978c7987391e97f5c548d54d9ad77','Package: hello-data
Version: 1.0-1
Architecture: all
Source: hello
Maintainer: Uploader <uploader@example.com>
Section: misc
Priority: optional
Description: a package
 It says hello.
 .
 Twice.
Filename: pool/main/h/hello/hello-data_1.0-1_all.deb
Size: 20672
MD5sum: f7e6846d56b2fd3b84f1fb159bcc4476
SHA1: 17b6edc117509687cde277b44920e6229d235d05
SHA256: ea0e04c3b28c6d4f9534f6f9d47e8f4e86f978c7987391e97f5c548d54d9ad77
');
INSERT INTO "binary_releases" VALUES(2,1,'hello','1.0-1','amd64','hello_1.0-1_amd64.deb','6f08355fc7a5cde0bdf13a533677bb6290ce63e1ad6d0db76a4b8bd3b753c345','Package: hello
Version: 1.0-1
Architecture: amd64
Maintainer: Uploader <uploader@example.com>
Section: misc
Priority: optional
Description: a package
 It says hello.
 .
 Twice.
Filename: pool/main/h/hello/hello_1.0-1_amd64.deb
Size: 20672
MD5sum: 288336a8853a7e86e7372f1ae835be21
SHA1: e9a696985aa19a04d12b6588d2cb9ddb1fc565d1
SHA256: 6f08355fc7a5cde0bdf13a533677bb6290ce63e1ad6d0db76a4b8bd3b753c345
');
INSERT INTO "binary_releases" VALUES(3,2,'hello-data','1.1-1','all','hello-data_1.1-1_all.deb','3d7cfcb5028faa8da3c47287e26d9202c089d7eed411cac773e68e8c5436e4a9','Package: hello-data
Version: 1.1-1
Architecture: all
Source: hello
Maintainer: Uploader <uploader@example.com>
Section: misc
Priority: optional
Description: a package
 It says hello.
 .
 Twice.
Filename: pool/main/h/hello/hello-data_1.1-1_all.deb
Size: 20672
MD5sum: 3700897302ba76372cf931254bee452c
SHA1: cfcff69785df13cea01fee3a89c5dcf28ccb446e
SHA256: 3d7cfcb5028faa8da3c47287e26d9202c089d7eed411cac773e68e8c5436e4a9
');
INSERT INTO "binary_releases" VALUES(4,2,'hello','1.1-1','amd64','hello_1.1-1_amd64.deb','eabb5f50c995a07893e2727f99b170c8f1848b78f8e2848969a9e332d668410a','Package: hello
Version: 1.1-1
Architecture: amd64
Maintainer: Uploader <uploader@example.com>
Section: misc
Priority: optional
Description: a package
 It says hello.
 .
 Twice.
Filename: pool/main/h/hello/hello_1.1-1_amd64.deb
Size: 20672
MD5sum: d70b4d7e5a5035f7dbc3c800bad355e2
SHA1: 9839ae016d7d76d395f21c26582d65f5733f32db
SHA256: eabb5f50c995a07893e2727f99b170c8f1848b78f8e2848969a9e332d668410a
');
CREATE TABLE file_names (
	ppa_id INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	pool_path TEXT NOT NULL, 
	PRIMARY KEY (ppa_id, name), 
	FOREIGN KEY(ppa_id) REFERENCES ppas (id), 
	FOREIGN KEY(sha256) REFERENCES files (sha256)
);
INSERT INTO "file_names" VALUES(1,'hello_1.0.orig.tar.gz','d5549b8de1612c1516ffa8242eb304fcf0921acdafd81cb89bbc3244c36c6c94','pool/main/h/hello/hello_1.0.orig.tar.gz');
INSERT INTO "file_names" VALUES(1,'hello_1.0-1.debian.tar.gz','bc6c87a20d64f4eb505397058fbb745a44a2f7ad1161a37a75703fc81769c420','pool/main/h/hello/hello_1.0-1.debian.tar.gz');
INSERT INTO "file_names" VALUES(1,'hello_1.0-1.dsc','18f176e768b3c7ca24b57402a5dbfb1d54a0ad0b5b376ba7db058064d46b4a3a','pool/main/h/hello/hello_1.0-1.dsc');
INSERT INTO "file_names" VALUES(1,'hello-data_1.0-1_all.deb','ea0e04c3b28c6d4f9534f6f9d47e8f4e86f978c7987391e97f5c548d54d9ad77','pool/main/h/hello/hello-data_1.0-1_all.deb');
INSERT INTO "file_names" VALUES(1,'hello_1.0-1_amd64.deb','6f08355fc7a5cde0bdf13a533677bb6290ce63e1ad6d0db76a4b8bd3b753c345','pool/main/h/hello/hello_1.0-1_amd64.deb');
INSERT INTO "file_names" VALUES(1,'hello_1.1-1.debian.tar.gz','3dc0ebbeec0537550c4d2f31823c5b9f354f2cc2429633b5e0cc6c70e5b8541a','pool/main/h/hello/hello_1.1-1.debian.tar.gz');
INSERT INTO "file_names" VALUES(1,'hello_1.1.orig.tar.gz','6a772eb5237aa57cc2a618d9bbc2db7b22040814c3e002ccf1ac32e28ffc2838','pool/main/h/hello/hello_1.1.orig.tar.gz');
INSERT INTO "file_names" VALUES(1,'hello_1.1-1.dsc','94abc239a9ac1c757542385ae6ba7c676cae7ee9798c20546ffa6bbcd1b3330c','pool/main/h/hello/hello_1.1-1.dsc');
INSERT INTO "file_names" VALUES(1,'hello_1.1-1_amd64.deb','eabb5f50c995a07893e2727f99b170c8f1848b78f8e2848969a9e332d668410a','pool/main/h/hello/hello_1.1-1_amd64.deb');
INSERT INTO "file_names" VALUES(1,'hello-data_1.1-1_all.deb','3d7cfcb5028faa8da3c47287e26d9202c089d7eed411cac773e68e8c5436e4a9','pool/main/h/hello/hello-data_1.1-1_all.deb');
INSERT INTO "file_names" VALUES(1,'waiting_1.0.orig.tar.gz','66498459a7a6f9a91948cf4e38770b2068556abf14bf3aa91cc8757818b53f2d','pool/main/w/waiting/waiting_1.0.orig.tar.gz');
INSERT INTO "file_names" VALUES(1,'waiting_1.0-1.dsc','49152432b8b3fca225186e059d8637a0e3fdf89d0773330dacef76fffe49b303','pool/main/w/waiting/waiting_1.0-1.dsc');
INSERT INTO "file_names" VALUES(1,'waiting_1.0-1.debian.tar.gz','339fc71bf597f0e3f9339da15995ce8598a29ed00a7c769f7f793d249aac4fa6','pool/main/w/waiting/waiting_1.0-1.debian.tar.gz');
CREATE TABLE files (
	sha256 VARCHAR(64) NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	md5 VARCHAR(32) NOT NULL, 
	sha1 VARCHAR(40) NOT NULL, 
	PRIMARY KEY (sha256)
);
INSERT INTO "files" VALUES('5629e051be9a086fb6a820373a02111176142435eaa863545ca75546bf140738',1355,'15bb8bd7590e3d09ed0ba6aa0208453a','a1012de620dbba0b2812fe0f405f37a07b101a6f');
INSERT INTO "files" VALUES('d5549b8de1612c1516ffa8242eb304fcf0921acdafd81cb89bbc3244c36c6c94',114,'bf0d40f18e9eb6aa552c28eb910a083c','94ce0adbd80c01ee9ce33a6045fff7592b5232d8');
INSERT INTO "files" VALUES('bc6c87a20d64f4eb505397058fbb745a44a2f7ad1161a37a75703fc81769c420',316,'3be02436869e0d446fb939088c4623eb','a9f0a4b05093e44531c3b7089ccd34099ab9d022');
INSERT INTO "files" VALUES('18f176e768b3c7ca24b57402a5dbfb1d54a0ad0b5b376ba7db058064d46b4a3a',921,'3970746ed64ff2bbc0dc9686fdc0b337','92ef96486ad67bef933aec82f52552f2d93c3530');
INSERT INTO "files" VALUES('ea0e04c3b28c6d4f9534f6f9d47e8f4e86f978c7987391e97f5c548d54d9ad77',20672,'f7e6846d56b2fd3b84f1fb159bcc4476','17b6edc117509687cde277b44920e6229d235d05');
INSERT INTO "files" VALUES('6f08355fc7a5cde0bdf13a533677bb6290ce63e1ad6d0db76a4b8bd3b753c345',20672,'288336a8853a7e86e7372f1ae835be21','e9a696985aa19a04d12b6588d2cb9ddb1fc565d1');
INSERT INTO "files" VALUES('bd8ab41b0562839a6e5c19e0fdd717b1e4ae0cd1334c5ea9616cf3c37749f0d1',873,'5488395db558f82b0960c6c00958fe33','602c0acfb2e0e04c5cb19822cb0da8b6374990d0');
INSERT INTO "files" VALUES('4bbc361567443ec74b8dd4fddfe17269ca6bdfcb8223497a627be3d3ca1f472a',1355,'84d02bd09b237ac3b0a7346bc3a78cbd','123998c9ceb5ceb48ffdb9295a96fa699ef8384d');
INSERT INTO "files" VALUES('3dc0ebbeec0537550c4d2f31823c5b9f354f2cc2429633b5e0cc6c70e5b8541a',316,'c46b1d8444c5f9cfc6a0b1c2b3bd1410','f61349aba6836182d709a37e8406e0e37977fd1d');
INSERT INTO "files" VALUES('6a772eb5237aa57cc2a618d9bbc2db7b22040814c3e002ccf1ac32e28ffc2838',115,'69eb3af683eb08bfa44119049ba04d29','09fadf79c686c92565117546f18beb1207cb6f62');
INSERT INTO "files" VALUES('94abc239a9ac1c757542385ae6ba7c676cae7ee9798c20546ffa6bbcd1b3330c',921,'f50d5929f27cddb659d3035ff1b5cd4d','88ef73e19a3ebe77988ae461be76a6206061ff6d');
INSERT INTO "files" VALUES('eabb5f50c995a07893e2727f99b170c8f1848b78f8e2848969a9e332d668410a',20672,'d70b4d7e5a5035f7dbc3c800bad355e2','9839ae016d7d76d395f21c26582d65f5733f32db');
INSERT INTO "files" VALUES('3d7cfcb5028faa8da3c47287e26d9202c089d7eed411cac773e68e8c5436e4a9',20672,'3700897302ba76372cf931254bee452c','cfcff69785df13cea01fee3a89c5dcf28ccb446e');
INSERT INTO "files" VALUES('e0901008b28d3af5bb2343cddfadd3f08ffe951eba0fd59c40eda750053861fe',873,'b92f272c28e059f1313c60aecdeabbbd','506d1d1c59816ed468d83b703ba064aafe90ae7b');
INSERT INTO "files" VALUES('66498459a7a6f9a91948cf4e38770b2068556abf14bf3aa91cc8757818b53f2d',118,'7a62be86f33f5febdb21577c6a792fd8','b69b44744e0aa7d96112808b9146dc43fa8d74b1');
INSERT INTO "files" VALUES('49152432b8b3fca225186e059d8637a0e3fdf89d0773330dacef76fffe49b303',937,'856a457605c1a22d17a86f1c7e5b99fb','6414f8ba5f42e7bc0645e818ab084c80e300323f');
INSERT INTO "files" VALUES('1dd73fe02a4706ba302f766781a1ada26e18a861d761f0b0b408aed5471bbbf0',1381,'130e271d9ac0453a08cc5e8126432063','6f19e41a706c9fadbd22c33983e246b71000a80f');
INSERT INTO "files" VALUES('339fc71bf597f0e3f9339da15995ce8598a29ed00a7c769f7f793d249aac4fa6',320,'b0b1b9d4d4399ffb6ed8e1440c9d3a1f','313c69eee1e3957c78f1446fd60bd9f5dd0b5d67');
CREATE TABLE ppas (
	id INTEGER NOT NULL, 
	owner VARCHAR(128) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	description TEXT NOT NULL, 
	key_fingerprint VARCHAR(64) NOT NULL, 
	created_at DOUBLE NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (owner, name)
);
INSERT INTO "ppas" VALUES(1,'demo','trunk','A PPA of the first days','@KEY OF local:demo/trunk@',1790000000.0);
INSERT INTO "ppas" VALUES(2,'demo','stable','','@KEY OF local:demo/stable@',1790000000.0);
CREATE TABLE schema_version (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(1);
CREATE TABLE series (
	id INTEGER NOT NULL, 
	ppa_id INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	architectures TEXT NOT NULL, 
	generation INTEGER NOT NULL, 
	published_generation INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (ppa_id, name), 
	FOREIGN KEY(ppa_id) REFERENCES ppas (id)
);
INSERT INTO "series" VALUES(1,1,'bookworm','amd64',6,5);
INSERT INTO "series" VALUES(2,2,'bookworm','amd64',1,1);
CREATE TABLE source_publications (
	id INTEGER NOT NULL, 
	series_id INTEGER NOT NULL, 
	release_id INTEGER NOT NULL, 
	source VARCHAR(128) NOT NULL, 
	version VARCHAR(255) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	created_at DOUBLE NOT NULL, 
	created_by TEXT NOT NULL, 
	why TEXT NOT NULL, 
	copied_from_id INTEGER, 
	published_at DOUBLE, 
	ended_at DOUBLE, 
	ended_by TEXT, 
	end_why TEXT, 
	superseded_by_id INTEGER, 
	PRIMARY KEY (id), 
	FOREIGN KEY(series_id) REFERENCES series (id), 
	FOREIGN KEY(release_id) REFERENCES source_releases (id), 
	FOREIGN KEY(copied_from_id) REFERENCES source_publications (id), 
	FOREIGN KEY(superseded_by_id) REFERENCES source_publications (id)
);
INSERT INTO "source_publications" VALUES(1,1,1,'hello','1.0-1','Superseded',1790000060.0,'C480A2E606A05D5CFCFDE549EB8437237078B4DD','uploaded by Uploader <uploader@example.com>',NULL,1790000120.0,1790000180.0,'C480A2E606A05D5CFCFDE549EB8437237078B4DD','1.1-1 has come',2);
INSERT INTO "source_publications" VALUES(2,1,2,'hello','1.1-1','Published',1790000180.0,'C480A2E606A05D5CFCFDE549EB8437237078B4DD','uploaded by Uploader <uploader@example.com>',NULL,1790000240.0,NULL,NULL,NULL,NULL);
INSERT INTO "source_publications" VALUES(3,1,3,'waiting','1.0-1','Pending',1790000300.0,'C480A2E606A05D5CFCFDE549EB8437237078B4DD','uploaded by Uploader <uploader@example.com>',NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE source_release_files (
	release_id INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	PRIMARY KEY (release_id, name), 
	FOREIGN KEY(release_id) REFERENCES source_releases (id), 
	FOREIGN KEY(sha256) REFERENCES files (sha256)
);
INSERT INTO "source_release_files" VALUES(1,'hello_1.0-1.dsc','18f176e768b3c7ca24b57402a5dbfb1d54a0ad0b5b376ba7db058064d46b4a3a');
INSERT INTO "source_release_files" VALUES(1,'hello_1.0.orig.tar.gz','d5549b8de1612c1516ffa8242eb304fcf0921acdafd81cb89bbc3244c36c6c94');
INSERT INTO "source_release_files" VALUES(1,'hello_1.0-1.debian.tar.gz','bc6c87a20d64f4eb505397058fbb745a44a2f7ad1161a37a75703fc81769c420');
INSERT INTO "source_release_files" VALUES(2,'hello_1.1-1.dsc','94abc239a9ac1c757542385ae6ba7c676cae7ee9798c20546ffa6bbcd1b3330c');
INSERT INTO "source_release_files" VALUES(2,'hello_1.1.orig.tar.gz','6a772eb5237aa57cc2a618d9bbc2db7b22040814c3e002ccf1ac32e28ffc2838');
INSERT INTO "source_release_files" VALUES(2,'hello_1.1-1.debian.tar.gz','3dc0ebbeec0537550c4d2f31823c5b9f354f2cc2429633b5e0cc6c70e5b8541a');
INSERT INTO "source_release_files" VALUES(3,'waiting_1.0-1.dsc','49152432b8b3fca225186e059d8637a0e3fdf89d0773330dacef76fffe49b303');
INSERT INTO "source_release_files" VALUES(3,'waiting_1.0.orig.tar.gz','66498459a7a6f9a91948cf4e38770b2068556abf14bf3aa91cc8757818b53f2d');
INSERT INTO "source_release_files" VALUES(3,'waiting_1.0-1.debian.tar.gz','339fc71bf597f0e3f9339da15995ce8598a29ed00a7c769f7f793d249aac4fa6');
CREATE TABLE source_releases (
	id INTEGER NOT NULL, 
	origin_ppa_id INTEGER NOT NULL, 
	source VARCHAR(128) NOT NULL, 
	version VARCHAR(255) NOT NULL, 
	architectures TEXT NOT NULL, 
	payload_sha256 VARCHAR(64) NOT NULL, 
	stanza TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (origin_ppa_id, source, version), 
	FOREIGN KEY(origin_ppa_id) REFERENCES ppas (id)
);
INSERT INTO "source_releases" VALUES(1,1,'hello','1.0-1','any','9a8934d9980c2b337942a400b6021020701b04fe26f3e9cff476eacb23558dc8','Package: hello
Format: 3.0 (quilt)
Binary: hello
Architecture: any
Version: 1.0-1
Maintainer: Uploader <uploader@example.com>
Standards-Version: 4.6.2
Priority: optional
Section: misc
Directory: pool/main/h/hello
Files:
 3970746ed64ff2bbc0dc9686fdc0b337 921 hello_1.0-1.dsc
 bf0d40f18e9eb6aa552c28eb910a083c 114 hello_1.0.orig.tar.gz
 3be02436869e0d446fb939088c4623eb 316 hello_1.0-1.debian.tar.gz
Checksums-Sha1:
 92ef96486ad67bef933aec82f52552f2d93c3530 921 hello_1.0-1.dsc
 94ce0adbd80c01ee9ce33a6045fff7592b5232d8 114 hello_1.0.orig.tar.gz
 a9f0a4b05093e44531c3b7089ccd34099ab9d022 316 hello_1.0-1.debian.tar.gz
Checksums-Sha256:
 18f176e768b3c7ca24b57402a5dbfb1d54a0ad0b5b376ba7db058064d46b4a3a 921 hello_1.0-1.dsc
 d5549b8de1612c1516ffa8242eb304fcf0921acdafd81cb89bbc3244c36c6c94 114 hello_1.0.orig.tar.gz
 bc6c87a20d64f4eb505397058fbb745a44a2f7ad1161a37a75703fc81769c420 316 hello_1.0-1.debian.tar.gz
');
INSERT INTO "source_releases" VALUES(2,1,'hello','1.1-1','any','5530f60a80cf18d916f703dd5dfc84982ea86a29ed9f42ff557087245d196570','Package: hello
Format: 3.0 (quilt)
Binary: hello
Architecture: any
Version: 1.1-1
Maintainer: Uploader <uploader@example.com>
Standards-Version: 4.6.2
Priority: optional
Section: misc
Directory: pool/main/h/hello
Files:
 f50d5929f27cddb659d3035ff1b5cd4d 921 hello_1.1-1.dsc
 69eb3af683eb08bfa44119049ba04d29 115 hello_1.1.orig.tar.gz
 c46b1d8444c5f9cfc6a0b1c2b3bd1410 316 hello_1.1-1.debian.tar.gz
Checksums-Sha1:
 88ef73e19a3ebe77988ae461be76a6206061ff6d 921 hello_1.1-1.dsc
 09fadf79c686c92565117546f18beb1207cb6f62 115 hello_1.1.orig.tar.gz
 f61349aba6836182d709a37e8406e0e37977fd1d 316 hello_1.1-1.debian.tar.gz
Checksums-Sha256:
 94abc239a9ac1c757542385ae6ba7c676cae7ee9798c20546ffa6bbcd1b3330c 921 hello_1.1-1.dsc
 6a772eb5237aa57cc2a618d9bbc2db7b22040814c3e002ccf1ac32e28ffc2838 115 hello_1.1.orig.tar.gz
 3dc0ebbeec0537550c4d2f31823c5b9f354f2cc2429633b5e0cc6c70e5b8541a 316 hello_1.1-1.debian.tar.gz
');
INSERT INTO "source_releases" VALUES(3,1,'waiting','1.0-1','any','09dcafd3c10660542bf2b9173d3230501203788f1e683d2523ce050e1d30d762','Package: waiting
Format: 3.0 (quilt)
Binary: waiting
Architecture: any
Version: 1.0-1
Maintainer: Uploader <uploader@example.com>
Standards-Version: 4.6.2
Priority: optional
Section: misc
Directory: pool/main/w/waiting
Files:
 856a457605c1a22d17a86f1c7e5b99fb 937 waiting_1.0-1.dsc
 7a62be86f33f5febdb21577c6a792fd8 118 waiting_1.0.orig.tar.gz
 b0b1b9d4d4399ffb6ed8e1440c9d3a1f 320 waiting_1.0-1.debian.tar.gz
Checksums-Sha1:
 6414f8ba5f42e7bc0645e818ab084c80e300323f 937 waiting_1.0-1.dsc
 b69b44744e0aa7d96112808b9146dc43fa8d74b1 118 waiting_1.0.orig.tar.gz
 313c69eee1e3957c78f1446fd60bd9f5dd0b5d67 320 waiting_1.0-1.debian.tar.gz
Checksums-Sha256:
 49152432b8b3fca225186e059d8637a0e3fdf89d0773330dacef76fffe49b303 937 waiting_1.0-1.dsc
 66498459a7a6f9a91948cf4e38770b2068556abf14bf3aa91cc8757818b53f2d 118 waiting_1.0.orig.tar.gz
 339fc71bf597f0e3f9339da15995ce8598a29ed00a7c769f7f793d249aac4fa6 320 waiting_1.0-1.debian.tar.gz
');
CREATE TABLE upload_files (
	upload_id INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	PRIMARY KEY (upload_id, name), 
	FOREIGN KEY(upload_id) REFERENCES uploads (id), 
	FOREIGN KEY(sha256) REFERENCES files (sha256)
);
INSERT INTO "upload_files" VALUES(1,'hello_1.0-1_source.changes','5629e051be9a086fb6a820373a02111176142435eaa863545ca75546bf140738');
INSERT INTO "upload_files" VALUES(1,'hello_1.0.orig.tar.gz','d5549b8de1612c1516ffa8242eb304fcf0921acdafd81cb89bbc3244c36c6c94');
INSERT INTO "upload_files" VALUES(1,'hello_1.0-1.debian.tar.gz','bc6c87a20d64f4eb505397058fbb745a44a2f7ad1161a37a75703fc81769c420');
INSERT INTO "upload_files" VALUES(1,'hello_1.0-1.dsc','18f176e768b3c7ca24b57402a5dbfb1d54a0ad0b5b376ba7db058064d46b4a3a');
INSERT INTO "upload_files" VALUES(2,'hello-data_1.0-1_all.deb','ea0e04c3b28c6d4f9534f6f9d47e8f4e86f978c7987391e97f5c548d54d9ad77');
INSERT INTO "upload_files" VALUES(2,'hello_1.0-1_amd64.deb','6f08355fc7a5cde0bdf13a533677bb6290ce63e1ad6d0db76a4b8bd3b753c345');
INSERT INTO "upload_files" VALUES(2,'hello_1.0-1_amd64.changes','bd8ab41b0562839a6e5c19e0fdd717b1e4ae0cd1334c5ea9616cf3c37749f0d1');
INSERT INTO "upload_files" VALUES(3,'hello_1.1-1_source.changes','4bbc361567443ec74b8dd4fddfe17269ca6bdfcb8223497a627be3d3ca1f472a');
INSERT INTO "upload_files" VALUES(3,'hello_1.1-1.debian.tar.gz','3dc0ebbeec0537550c4d2f31823c5b9f354f2cc2429633b5e0cc6c70e5b8541a');
INSERT INTO "upload_files" VALUES(3,'hello_1.1.orig.tar.gz','6a772eb5237aa57cc2a618d9bbc2db7b22040814c3e002ccf1ac32e28ffc2838');
INSERT INTO "upload_files" VALUES(3,'hello_1.1-1.dsc','94abc239a9ac1c757542385ae6ba7c676cae7ee9798c20546ffa6bbcd1b3330c');
INSERT INTO "upload_files" VALUES(4,'hello_1.1-1_amd64.deb','eabb5f50c995a07893e2727f99b170c8f1848b78f8e2848969a9e332d668410a');
INSERT INTO "upload_files" VALUES(4,'hello-data_1.1-1_all.deb','3d7cfcb5028faa8da3c47287e26d9202c089d7eed411cac773e68e8c5436e4a9');
INSERT INTO "upload_files" VALUES(4,'hello_1.1-1_amd64.changes','e0901008b28d3af5bb2343cddfadd3f08ffe951eba0fd59c40eda750053861fe');
INSERT INTO "upload_files" VALUES(5,'waiting_1.0.orig.tar.gz','66498459a7a6f9a91948cf4e38770b2068556abf14bf3aa91cc8757818b53f2d');
INSERT INTO "upload_files" VALUES(5,'waiting_1.0-1.dsc','49152432b8b3fca225186e059d8637a0e3fdf89d0773330dacef76fffe49b303');
INSERT INTO "upload_files" VALUES(5,'waiting_1.0-1_source.changes','1dd73fe02a4706ba302f766781a1ada26e18a861d761f0b0b408aed5471bbbf0');
INSERT INTO "upload_files" VALUES(5,'waiting_1.0-1.debian.tar.gz','339fc71bf597f0e3f9339da15995ce8598a29ed00a7c769f7f793d249aac4fa6');
CREATE TABLE uploader_keys (
	id INTEGER NOT NULL, 
	ppa_id INTEGER NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	uid TEXT NOT NULL, 
	public_key BLOB NOT NULL, 
	added_at DOUBLE NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (ppa_id, fingerprint), 
	FOREIGN KEY(ppa_id) REFERENCES ppas (id)
);
INSERT INTO "uploader_keys" VALUES(1,1,'C480A2E606A05D5CFCFDE549EB8437237078B4DD','Uploader <uploader@example.com>',X'2D2D2D2D2D424547494E20504750205055424C4943204B455920424C4F434B2D2D2D2D2D0A0A6D444D456177476F7168594A4B775942424148615277384241516441564E7270696E6F314D62533275594F504B6869616F4675506A75524D6374536A385241560A4247412B4276433048315677624739685A47567949447831634778765957526C636B426C654746746347786C4C6D4E76625436496B415154466767414F4259680A424D53416F7559476F4631632F50336C536575454E794E77654C546442514A7241616971416873444251734A434163434268554B4351674C4167515741674D420A416834424168654141416F4A454F75454E794E77654C546436454D42414F47734D6B7474627454466F4779685358783467373676716B697132686B636D436A510A535434596D7045684151436E646F654370594566576B4638316C32304F6D69584455494A5A306444783435706868516D69594E3644413D3D0A3D725639500A2D2D2D2D2D454E4420504750205055424C4943204B455920424C4F434B2D2D2D2D2D0A',1790000000.0);
INSERT INTO "uploader_keys" VALUES(2,2,'C480A2E606A05D5CFCFDE549EB8437237078B4DD','Uploader <uploader@example.com>',X'2D2D2D2D2D424547494E20504750205055424C4943204B455920424C4F434B2D2D2D2D2D0A0A6D444D456177476F7168594A4B775942424148615277384241516441564E7270696E6F314D62533275594F504B6869616F4675506A75524D6374536A385241560A4247412B4276433048315677624739685A47567949447831634778765957526C636B426C654746746347786C4C6D4E76625436496B415154466767414F4259680A424D53416F7559476F4631632F50336C536575454E794E77654C546442514A7241616971416873444251734A434163434268554B4351674C4167515741674D420A416834424168654141416F4A454F75454E794E77654C546436454D42414F47734D6B7474627454466F4779685358783467373676716B697132686B636D436A510A535434596D7045684151436E646F654370594566576B4638316C32304F6D69584455494A5A306444783435706868516D69594E3644413D3D0A3D725639500A2D2D2D2D2D454E4420504750205055424C4943204B455920424C4F434B2D2D2D2D2D0A',1790000000.0);
CREATE TABLE uploads (
	id INTEGER NOT NULL, 
	series_id INTEGER NOT NULL, 
	architecture VARCHAR(32) NOT NULL, 
	changes_sha256 VARCHAR(64) NOT NULL, 
	source_release_id INTEGER NOT NULL, 
	uploaded_at DOUBLE NOT NULL, 
	uploaded_by TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (series_id, changes_sha256), 
	FOREIGN KEY(series_id) REFERENCES series (id), 
	FOREIGN KEY(source_release_id) REFERENCES source_releases (id)
);
INSERT INTO "uploads" VALUES(1,1,'source','5629e051be9a086fb6a820373a02111176142435eaa863545ca75546bf140738',1,1790000060.0,'C480A2E606A05D5CFCFDE549EB8437237078B4DD');
INSERT INTO "uploads" VALUES(2,1,'amd64','bd8ab41b0562839a6e5c19e0fdd717b1e4ae0cd1334c5ea9616cf3c37749f0d1',1,1790000120.0,'worker-1');
INSERT INTO "uploads" VALUES(3,1,'source','4bbc361567443ec74b8dd4fddfe17269ca6bdfcb8223497a627be3d3ca1f472a',2,1790000180.0,'C480A2E606A05D5CFCFDE549EB8437237078B4DD');
INSERT INTO "uploads" VALUES(4,1,'amd64','e0901008b28d3af5bb2343cddfadd3f08ffe951eba0fd59c40eda750053861fe',2,1790000240.0,'worker-1');
INSERT INTO "uploads" VALUES(5,1,'source','1dd73fe02a4706ba302f766781a1ada26e18a861d761f0b0b408aed5471bbbf0',3,1790000300.0,'C480A2E606A05D5CFCFDE549EB8437237078B4DD');
CREATE INDEX source_releases_by_name ON source_releases (source);
CREATE INDEX binary_releases_by_source ON binary_releases (source_release_id);
CREATE INDEX uploads_by_release ON uploads (source_release_id, series_id);
CREATE INDEX source_publications_by_status ON source_publications (series_id, status);
CREATE INDEX source_publications_by_name ON source_publications (series_id, source, status);
CREATE INDEX source_publications_by_release ON source_publications (release_id, series_id);
CREATE INDEX binary_publications_by_package ON binary_publications (series_id, package, status);
CREATE INDEX binary_publications_by_status ON binary_publications (series_id, index_architecture, status);
CREATE INDEX binary_publications_by_source ON binary_publications (series_id, source, status);
COMMIT;
